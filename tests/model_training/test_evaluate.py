"""The command `evaluate` on phantoms with the tiny checkpoint, what stands in its files, and `compare` over them."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from app.inference.checkpoint import load_checkpoint
from app.inference.generator import Generator
from app.text.tokenizer import Tokenizer
from model_training.__main__ import main
from model_training.config import Config
from model_training.data import read_collection
from model_training.export import export_model
from model_training.metrics import registry
from model_training.metrics.agreement import FloatArray
from model_training.metrics.registry import Metric, Texts
from model_training.model.report_model import ReportModel
from model_training.reporting.compare import row
from model_training.synthetic.phantom import write_collection

SYSTEMS = [
    "model", "shuffled images", "blank image", "best constant", "most frequent training report",
    "gold MeSH tags, nearest training report", "random training report, mean of 5 seeds",
]  # fmt: skip


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 phantoms, 8 of them for testing, one of those without its images and one with a broken one."""
    folder = tmp_path_factory.mktemp("evaluated") / "collection"
    write_collection(folder, 24, seed=3, size=64, processes=1, progress=False, val=0.25, test=0.35)
    images = [study.images for study in read_collection(folder).split("test")]
    for image in images[-1]:
        image.path.unlink()
    images[-2][0].path.write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def evaluation(collection: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `evaluate` wrote, without METEOR, which takes seconds."""
    out = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "which", lambda _: None)
        options = ["--num-beams", "2", "--early-stopping", "never", "--max-new-tokens", "12"]
        assert main(["evaluate", str(tiny_checkpoint), "--data", str(collection), "--out", str(out), *options]) == 0
    return out


def content(folder: Path) -> dict[str, Any]:
    """The JSON of an evaluation."""
    loaded: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return loaded


def test_every_table_holds_model_controls_and_baselines(evaluation: Path) -> None:
    """Under the protocol, without `<unk>` and cut, and with both sections; frontal images in a table of their own."""
    tables = content(evaluation)["details"]["tables"]
    assert list(tables) == [
        "Findings, R2Gen protocol",
        "Findings, without <unk> and cut",
        "Findings and impression, without <unk> and cut",
    ]
    for part in tables.values():
        assert list(part["scores"]) == SYSTEMS
        assert part["studies"] == 6
        assert part["scores"]["best constant"]["copied"] == 1
    frontal = content(evaluation)["details"]["frontal only"]
    assert list(frontal["scores"]) == ["frontal only", "all views", "best constant"]


def test_differences_are_to_the_best_constant_with_their_intervals(evaluation: Path) -> None:
    """The model and both controls, bounds around the value."""
    differences = content(evaluation)["details"]["differences"]["Findings, R2Gen protocol"]
    assert list(differences) == SYSTEMS[:3]
    bleu = differences["model"]["BLEU-4"]
    assert bleu["low"] <= bleu["value"] <= bleu["high"]
    table = content(evaluation)["details"]["tables"]["Findings, R2Gen protocol"]["scores"]
    assert bleu["value"] == pytest.approx(table["model"]["BLEU-4"] - table["best constant"]["BLEU-4"], abs=2e-4)


def test_studies_that_cannot_be_reported_on_are_counted_and_named(evaluation: Path, collection: Path) -> None:
    """One has no image, one an image that is none."""
    ids = [study.id for study in read_collection(collection).split("test")]
    assert content(evaluation)["details"]["left out"] == {"no image": [ids[-1]], "an image cannot be read": [ids[-2]]}
    assert f"1: no image ({ids[-1]})" in (evaluation / "evaluation.md").read_text()


def test_the_manifest_gets_figures_with_intervals_and_the_options_used(evaluation: Path) -> None:
    """Compact, and no more than numbers and names."""
    metrics = content(evaluation)["metrics"]
    assert metrics["studies"] == 6
    assert metrics["split"] == "test"
    assert metrics["options"]["num_beams"] == 2
    assert metrics["options"]["early_stopping"] == "never"
    assert set(metrics["scores"]["BLEU-4"]) == {"value", "low", "high"}
    assert list(metrics["compared"]["Findings, R2Gen protocol"]) == SYSTEMS
    assert len(json.dumps(metrics)) < 9000


def test_export_takes_metrics_as_they_are(
    evaluation: Path, tiny_model: ReportModel, tiny_tokenizer: Tokenizer, tiny_config: Config, tmp_path: Path
) -> None:
    """The manifest holds what `evaluate` wrote."""
    metrics = content(evaluation)["metrics"]
    export_model(tiny_model, tiny_tokenizer, tiny_config, tmp_path / "tiny.pt", metrics=metrics)
    assert load_checkpoint(tmp_path / "tiny.pt").manifest.metrics == metrics


def test_predictions_stand_in_a_table_one_row_a_study(evaluation: Path) -> None:
    """Texts, scores, and for each finding truth and calibrated probability."""
    with (evaluation / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert all(row["reference findings"] and row["truth: cardiomegaly"] in ("0", "1") for row in rows)
    assert all(0 <= float(row["probability: cardiomegaly"]) <= 1 and 0 <= float(row["label F1"]) <= 1 for row in rows)


def test_the_summary_names_scorers_and_shows_the_curve(evaluation: Path) -> None:
    """METEOR is n/a without Java; the picture is beside the text."""
    text = (evaluation / "evaluation.md").read_text()
    for part in ("pycocoevalcap", "sacreBLEU", "| n/a |", "## Abnormal studies", "## Frontal images", "AURC"):
        assert part in text, part
    assert "](risk-coverage.png)" in text
    assert (evaluation / "risk-coverage.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-beams", "9"], "num_beams must be from 1 to 8"),
        (["--max-new-tokens", "1000"], "max_new_tokens must be at most 40"),
        (["--split", "external"], "no study could be reported on"),
        (["--layout", "openi_xml"], "error:"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(
    arguments: list[str], message: str, collection: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, exit status 2."""
    assert main(["evaluate", str(tiny_checkpoint), "--data", str(collection), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_that_is_none_is_an_error(collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for the file."""
    assert main(["evaluate", str(collection / "none.pt"), "--data", str(collection)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_scorers_that_lack_are_missed_before_anything_is_generated(
    collection: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after hours of it; the extra that brings them is named."""
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    monkeypatch.setattr(Generator, "submit", lambda *_, **__: pytest.fail("generated"))
    assert main(["evaluate", str(tiny_checkpoint), "--data", str(collection)]) == 2
    assert "xray-report[evaluation]" in capsys.readouterr().err


def test_the_checkpoint_is_loaded_once(
    collection: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One archive read and verified serves the reports and the scores of images."""
    load = Mock(wraps=torch.jit.load)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(torch.jit, "load", load)
    options = ["--num-beams", "1", "--max-new-tokens", "2", "--views", "1"]
    assert main(["evaluate", str(tiny_checkpoint), "--data", str(collection), *options]) == 0
    load.assert_called_once()


def test_images_without_reports_are_scored_on_their_labels_source_by_source(
    collection: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """A folder of labelled images has no text to compare with, but findings to say."""
    image = read_collection(collection).split("val")[0].images[0].path
    (tmp_path / "images").mkdir()
    lines = ["file,source,split,cardiomegaly"]
    for i in range(8):
        shutil.copy(image, tmp_path / "images" / f"{i}.png")
        lines.append(f"images/{i}.png,{'left' if i < 4 else 'right'},test,{i % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    assert main(["evaluate", str(tiny_checkpoint), "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    written = content(tmp_path / "out")
    assert written["details"]["tables"] == {}
    assert written["details"]["findings"]["cardiomegaly"]["positive"] == 4
    assert {name: part["studies"] for name, part in written["details"]["sources"].items()} == {"left": 4, "right": 4}
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert "No text was compared with a report" in text
    assert "## Within each source" in text
    for part in (written["details"]["sources"]["left"], written["metrics"]["sources"]["left"]):
        assert list(part["text"]) == ["model", "blank image", "shuffled images", "best constant"]
        assert part["text"]["best constant"]["micro-F1"]["value"] == pytest.approx(2 / 3, abs=1e-4)


def test_a_new_metric_is_one_record(
    collection: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is scored, resampled, compared with the constant, written to JSON and printed in every table of texts."""

    def lengths(systems: Sequence[Texts]) -> list[FloatArray]:
        counts = [[(len(text.split()), 1) for text in one.hypotheses] for one in systems]
        return [np.array(each, dtype=np.float64) for each in counts]

    record = Metric("length", lengths, registry.mean, headline=True)
    monkeypatch.setattr(registry, "METRICS", (*registry.METRICS, record))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    options = ["--num-beams", "1", "--max-new-tokens", "12", "--out", str(tmp_path)]
    assert main(["evaluate", str(tiny_checkpoint), "--data", str(collection), *options]) == 0
    metrics, details = content(tmp_path)["metrics"], content(tmp_path)["details"]
    interval = metrics["scores"]["length"]
    assert 0 < interval["low"] <= interval["value"] <= interval["high"] <= 12
    for title, part in details["tables"].items():
        assert part["scores"]["model"]["length"] > 0
        assert metrics["compared"][title]["best constant"]["length"] == part["scores"]["best constant"]["length"]
        assert metrics["leads"][title]["length"] == details["differences"][title]["model"]["length"]
    assert all("length" in row for group in details["groups"].values() for row in group["scores"].values())
    heads = [line for line in (tmp_path / "evaluation.md").read_text().splitlines() if line.startswith("| | BLEU")]
    assert len(heads) == 3 + 3 + len(details["groups"]) + 1  # scores, leads, groups, frontal images only
    assert all(" length " in line for line in heads)
    assert "length" in row(content(tmp_path))


def test_runs_are_compared_in_one_table(evaluation: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Seeds of one name are averaged, other studies are called out, the best constant leads."""
    path = evaluation / "evaluation.json"
    other = content(evaluation)
    other["metrics"]["studies"] = 7
    protocol = other["details"]["tables"]["Findings, R2Gen protocol"]["scores"]["model"]
    protocol["BLEU-1"] = protocol["BLEU-1"] + 0.2
    (tmp_path / "other.json").write_text(json.dumps(other))
    out = tmp_path / "table.md"
    assert (
        main(["compare", f"two views={path}", f"LSTM={path}", f"LSTM={tmp_path / 'other.json'}", "--out", str(out)])
        == 0
    )
    text = out.read_text()
    assert capsys.readouterr().out == text
    assert text.startswith("NOT ON THE SAME STUDIES")
    lines = text.splitlines()
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["best constant", "two views", "LSTM, 2 seeds"]
    assert "± .141" in lines[6]
    assert main(["compare", f"a={path}"]) == 0
    assert "NOT ON" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("evaluation.json", "evaluation.json does not name an evaluation as NAME=FILE"),
        ("a=nowhere.json", "nowhere.json: No such file"),
        ("a={broken}", "broken.json: not what `evaluate` writes"),
    ],
)
def test_what_is_no_evaluation_cannot_be_compared(
    argument: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name without a file, a file that is not there, JSON of something else."""
    (tmp_path / "broken.json").write_text('{"metrics": {}}')
    assert main(["compare", argument.format(broken=tmp_path / "broken.json")]) == 2
    assert said in capsys.readouterr().err
