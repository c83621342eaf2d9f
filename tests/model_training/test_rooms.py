"""Where each room of the training package stands, held over the syntax trees: imports run down, never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = "model_training"
# From top to bottom. A room imports from its own floor and from those below; a module at the top level is a room.
FLOORS = (
    ("__main__", "calibrate", "evaluate", "export", "train"),
    ("anatomy", "evaluation", "ood", "reporting", "wording"),
    ("model", "training"),
    ("metrics",),
    ("config",),
    ("data", "synthetic"),
    ("progress",),
)
Graph = Mapping[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Module to file, of a package that lies in `root`."""
    paths = sorted((root / PACKAGE).rglob("*.py"))
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(root: Path) -> Graph:
    """Module to the modules of the package that it imports, wherever in its code."""
    known = modules(root)
    found: dict[str, set[str]] = {}
    for module, path in known.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                names |= {name if name in known else str(node.module) for name in inner.values()}
        found[module] = (names & known.keys()) - {module}
    return found


def room(module: str) -> str:
    """The folder below the package that a module lies in, or the module itself at the top level."""
    return module.split(".")[1]


def rooms(graph: Graph) -> Graph:
    """Room to the other rooms that it imports from."""
    found: dict[str, set[str]] = {}
    for module, names in graph.items():
        if module != PACKAGE:
            others = {room(name) for name in names if name != PACKAGE}
            found.setdefault(room(module), set()).update(others - {room(module)})
    return found


def circle(graph: Graph) -> list[str]:
    """One way round, if there is any."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_imports_run_down() -> None:
    """No room imports from a higher floor, and every room has one."""
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    graph = rooms(imports(ROOT))
    assert graph.keys() == floor.keys(), "a room that is not in FLOORS, or a floor without its room"
    rising = [
        f"{name} imports {other}" for name, others in graph.items() for other in others if floor[other] < floor[name]
    ]
    assert rising == []


def test_no_circle() -> None:
    """Neither of modules nor of rooms."""
    graph = imports(ROOT)
    assert circle(graph) == []
    assert circle(rooms(graph)) == []


def test_few_modules_at_the_top_level() -> None:
    """What grows gets a room."""
    assert len(list((ROOT / PACKAGE).glob("*.py"))) <= 8


@pytest.mark.parametrize("line", ["import model_training.a.two", "from model_training.a import two, three"])
def test_a_circle_is_found(line: str, tmp_path: Path) -> None:
    """However the import is written, and where: a test that sees nothing would pass."""
    for name, code in {
        "a/__init__": "",
        "a/one": "",
        "a/two": "from model_training.b.four import f",
        "b/four": "",
    }.items():
        path = tmp_path / PACKAGE / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    assert circle(imports(tmp_path)) == []
    (tmp_path / PACKAGE / "b" / "four.py").write_text(f"def f():\n    {line}\n")
    assert set(circle(imports(tmp_path))) == {"model_training.a.two", "model_training.b.four"}
    assert set(circle(rooms(imports(tmp_path)))) == {"a", "b"}
