"""The notebook `docs/tour.ipynb` runs from top to bottom, on phantoms and on captions, and is kept as it should be."""

from __future__ import annotations

import ast
import csv
import json
import re
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from model_training.data import read_collection
from tests.conftest import ROOT

TOUR = ROOT / "docs" / "tour.ipynb"
SECONDS = 120
PICTURES = 5  # films, curves, scores, predictions, heatmaps


@pytest.fixture(scope="module")
def tour() -> Any:
    """The notebook as committed."""
    return nbformat.read(TOUR, as_version=4)


@pytest.fixture
def this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of the interpreter that runs the tests, whatever is installed for this user; files stay below."""
    folder = tmp_path / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Python 3"}
    (folder / "kernel.json").write_text(json.dumps(spec | {"language": "python"}))
    for name in ("JUPYTER_PATH", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # kernels start elsewhere


def execute(tour: Any, folder: Path, **parameters: object) -> list[Any]:
    """Runs a copy with these parameters in the place of its own, which a cell behind them sets; its outputs.

    It has two minutes of processor time, which it also takes no longer for where it has two cores to itself.
    """
    made = nbformat.from_dict(json.loads(json.dumps(tour)))
    (own,) = (i for i, cell in enumerate(made.cells) if "parameters" in cell.metadata.get("tags", ()))
    given = {"SIZE": 64, "EPOCHS": 1, "WORK": str(folder / "work"), **parameters}
    lines = "\n".join(f"{name} = {value!r}" for name, value in given.items())
    (folder / "work").mkdir()
    made.cells.insert(own + 1, nbformat.v4.new_code_cell(lines))
    client = NotebookClient(
        made, timeout=10 * SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    begun = processor_seconds()
    client.execute()
    assert processor_seconds() - begun < SECONDS
    return [output for cell in made.cells if cell.cell_type == "code" for output in cell.outputs]


def processor_seconds() -> float:
    """Of all processes that have been waited for: the kernels, and what they started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shown(outputs: list[Any], kind: str) -> list[str]:
    """What was displayed of a MIME type."""
    return [output.data[kind] for output in outputs if "data" in output and kind in output.data]


def check(outputs: list[Any], folder: Path) -> None:
    """All plots are there, a baseline stands beside the model, and the service answered with what it must say."""
    assert len(shown(outputs, "image/png")) == PICTURES
    assert any("best constant" in table and "micro-F1" in table for table in shown(outputs, "text/markdown"))
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "Research use only" in printed
    assert "unsupported-media-type" in printed
    assert "xray-report-tour" in printed
    assert (folder / "work" / "tour.pt").is_file()


@pytest.mark.usefixtures("this_python")
def test_it_runs_on_phantoms(tour: Any, tmp_path: Path) -> None:
    """From nothing to the answer of a served checkpoint."""
    check(execute(tour, tmp_path, STUDIES=30), tmp_path)


@pytest.mark.usefixtures("this_python")
def test_it_runs_on_captions(tour: Any, tmp_path: Path, phantoms: Path) -> None:
    """Of a folder with a `captions.csv` that names neither split nor view nor study."""
    data = tmp_path / "films"
    data.mkdir()
    with (data / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption"])
        for study in read_collection(phantoms).studies:
            film = study.images[0].path
            shutil.copy(film, data)
            table.writerow([film.name, f"FINDINGS: {study.findings} IMPRESSION: {study.impression}"])
    outputs = execute(tour, tmp_path, DATA=str(data), STUDIES=20)
    check(outputs, tmp_path)
    printed = "".join(output.get("text", "") for output in outputs)
    assert "captions_csv" in printed
    assert "a random draw by patient" in printed


def test_it_is_committed_without_outputs(tour: Any) -> None:
    """Whoever changes it changes what it says, not pictures that lie in it; and it is a notebook by the format."""
    nbformat.validate(tour)
    for cell in tour.cells:
        assert not cell.get("outputs"), cell.id
        assert cell.get("execution_count") is None, cell.id
        assert set(cell.metadata) <= {"tags"}, cell.id


def test_it_defines_nothing(tour: Any) -> None:
    """What it needs is in the package, where it is typed and tested: no function, no class, no loop."""
    for cell in tour.cells:
        if cell.cell_type == "code":
            tree = ast.parse(re.sub(r"^(\s*)%.*$", r"\1pass", cell.source, flags=re.MULTILINE))
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While)
            assert not [node for node in ast.walk(tree) if isinstance(node, kinds)], cell.id


def test_it_is_explained(tour: Any) -> None:
    """Between any two cells of code that do something stand words; it begins with what it must not be used for."""
    assert "Research use only" in tour.cells[0].source
    kinds = [cell.cell_type for cell in tour.cells]
    assert kinds.count("markdown") >= 10
