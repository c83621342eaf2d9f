"""README and docs stay true: links, paths, names, commands, and what must stand in them."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from app.inference.checkpoint import load_checkpoint
from app.inference.options import EARLY_STOPPING, INCLUDES, MEANINGS, OBJECTS, OPERATING_POINTS, RANGES, DecodingOptions
from app.main import create_app
from app.pacs.metrics import PacsMetrics
from app.settings import load_settings
from app.telemetry import Metrics
from model_training.__main__ import COMMANDS
from model_training.config import load_config

ROOT = Path(__file__).parents[1]
README, CHANGELOG, API = ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "docs" / "api.md"
PAGES = [
    README,
    CHANGELOG,
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / ".github" / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "model_training" / "experiments.md",
    ROOT / "weights" / "MODEL_CARD.md",
    ROOT / "tests" / "phantom" / "MODEL_CARD.md",
]
# What a path in backticks begins with; anything else is a user's own, or no path.
FOLDERS = ("app", "model_training", "tests", "benchmarks", "deploy", "docs", "weights", ".github", ".ci")
OUTSIDE_OPENAPI = {"GET /", "GET /metrics", "GET /docs", "GET /openapi.json"}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def slug(heading: str) -> str:
    """The anchor GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def column(text: str, head: str) -> list[str]:
    """The backticked words in the first column of the table that begins with `head`."""
    rows = text.partition(head)[2].partition("\n\n")[0]
    return re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\|(.*?)\|", rows, re.MULTILINE)))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links(page: Path) -> None:
    """A link leads to a file that is there, and to a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), target


@pytest.mark.parametrize("page", [page for page in PAGES if page != CHANGELOG], ids=named)
def test_paths(page: Path) -> None:
    """A path of the repository in backticks is there."""
    for path in re.findall(r"`([\w.-]+/[\w./-]*)`", page.read_text()):
        if path.partition("/")[0] in FOLDERS:
            assert (ROOT / path).exists(), path


def test_glossary() -> None:
    """A name that the glossary places in a file stands in it."""
    places = re.findall(r"`(\w+)` in `([\w./]+)`", (ROOT / "docs" / "glossary.md").read_text())
    assert len(places) > 20
    for name, path in places:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), f"{name} in {path}"


def tree() -> Iterator[Path]:
    """What the README's tree names: paths by indentation, several on a line, two spaces before what is said of them."""
    block = README.read_text().partition("\n## Tree\n")[2].partition("\n## ")[0]
    parents: dict[int, Path] = {}
    for line in filter(None, block.splitlines()):
        names = re.split(r" {2,}", line.strip())[0].split(" ")
        depth = len(line) - len(line.lstrip())
        above = [parents[level] for level in sorted(parents) if level < depth]
        parents[depth] = (above[-1] if above else ROOT) / names[0]
        parents = {level: path for level, path in parents.items() if level <= depth}
        yield from ((above[-1] if above else ROOT) / name for name in names)


def test_tree() -> None:
    """The README's tree is there, and no room is missing from it."""
    paths = list(tree())
    assert len(paths) > 30
    assert [path for path in paths if not path.exists()] == []
    assert {ROOT / folder for folder in FOLDERS if not folder.startswith(".")} <= set(paths)
    for package in (ROOT / "app", ROOT / "model_training"):
        assert {path.parent for path in package.glob("*/__init__.py")} <= set(paths)


def test_readme_is_short() -> None:
    """What a newcomer reads first is read to its end."""
    assert len(README.read_text().splitlines()) <= 160


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_make_targets(page: Path) -> None:
    """`make TARGET` is a target of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?:^    |`|[A-Z]\S* )make ([a-z][\w-]*)", page.read_text(), re.MULTILINE):
        assert target in targets, target


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each `… -m model_training …` in the blocks of a page."""
    text = "\n".join(re.findall(r"^ {4,}(.*)$", page.read_text(), re.MULTILINE))
    text = re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE).replace("\\\n", " ").replace("$seed", "1")
    for begin in re.finditer(r"-m model_training ", text):
        words = shlex.shlex(text[begin.end() :], posix=True, punctuation_chars=";\n")
        words.whitespace, words.whitespace_split = " \t", True
        yield list(itertools.takewhile(lambda word: word.strip(";\n"), words))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_training_commands(page: Path) -> None:
    """A command is one there is, with arguments it takes and configuration keys that are known."""
    for name, *arguments in commands(page):
        parser = argparse.ArgumentParser()
        importlib.import_module(COMMANDS[name][0]).add_arguments(parser)
        given = parser.parse_args(arguments)
        if name == "train":
            load_config(given.config, given.overrides)


def test_training_chapter() -> None:
    """It lists every command, and says which Python runs them."""
    chapter = ROOT / "docs" / "training.md"
    assert column(chapter.read_text(), "| command | does |") == list(COMMANDS)
    assert {name for name, *_ in commands(chapter)} == {*COMMANDS} - {"phantom", "compare", "labeller"}
    whole = re.sub(r"\\\n *", "", chapter.read_text())
    for line in re.findall(r"^ {4,}.*-m model_training .*$", whole, re.MULTILINE):
        assert ".venv/bin/python -m" in line or ".venv/bin/torchrun " in line


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_modules(page: Path) -> None:
    """`python -m MODULE` is a module of ours."""
    for module in re.findall(r"-m ((?:app|model_training|benchmarks|tests)[\w.]*\w)", page.read_text()):
        assert importlib.util.find_spec(module), module


def test_routes(tiny_checkpoint: Path) -> None:
    """The API's page lists every route, and no other."""
    paths = create_app(load_settings(checkpoint=tiny_checkpoint)).openapi()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert {*column(API.read_text(), "| route | answer |")} == routes | OUTSIDE_OPENAPI


def test_options() -> None:
    """The API's page lists every option with its values and meaning as the code has them."""
    rows = table_rows(API.read_text(), "| option | values | default | meaning |")
    known = {name: (str(one), one.meaning) for name, one in RANGES.items()}
    values = {"early_stopping": EARLY_STOPPING, "operating_point": OPERATING_POINTS}
    values |= {"sections": shipped_sections(), "include": INCLUDES, "object": OBJECTS}
    known |= {name: (", ".join(given), MEANINGS[name]) for name, given in values.items()}
    assert {name: (values, meaning) for name, values, _, meaning in rows} == known
    assert {field.name for field in dataclasses.fields(DecodingOptions)} | values.keys() == known.keys()


def table_rows(text: str, head: str) -> list[list[str]]:
    """The cells of the table that begins with `head`, without backticks."""
    rows = text.partition(head)[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


def shipped_sections() -> tuple[str, ...]:
    """The sections of the reports that the shipped checkpoint writes."""
    (path,) = (ROOT / "weights").glob("*.pt")
    return load_checkpoint(path).manifest.section_names


@pytest.mark.parametrize(
    ("page", "exposition"),
    [("operations.md", Metrics().exposition()), ("pacs.md", generate_latest(PacsMetrics().registry))],
)
def test_metrics(page: str, exposition: bytes) -> None:
    """The pages on operations and the PACS list every metric but those of the process."""
    exposed = re.findall(r"^# TYPE (xray_report_\w+)", exposition.decode(), re.MULTILINE)
    listed = column((ROOT / "docs" / page).read_text(), "| metric | meaning |")
    assert sorted(listed) == sorted(name for name in exposed if not name.endswith("_created"))


def test_changelog() -> None:
    """It keeps to Keep a Changelog: what is not released comes first, under the headings there are."""
    text = CHANGELOG.read_text()
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version) for version in versions[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds
