"""The command `card`: what stands in a model card, and that the shipped one is up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.text.tokenizer import Tokenizer
from model_training.__main__ import main
from model_training.config import Config
from model_training.export import export_model
from model_training.model.report_model import ReportModel

WEIGHTS = Path(__file__).parents[3] / "weights"
ESTIMATE = {"value": 0.3, "low": 0.2, "high": 0.4}
METRICS = {
    "studies": 4,
    "split": "test",
    "options": {"num_beams": 2},
    "compared": {"Findings, without <unk> and cut": {"model": {"BLEU-4": 0.25}}},
    "leads": {"Findings, without <unk> and cut": {"BLEU-4": {"value": 0.05, "low": -0.01, "high": 0.1}}},
    "finding head": {
        "mean AUROC": 0.7, "mean AUROC low": 0.6, "mean AUROC high": 0.8, "mean ECE": 0.04, "micro-F1": 0.5,
    },
    "view accuracy": 1.0,
    "examples": [{"source": "nih", "labels": ["effusion", "mass"], "report": "There is an effusion."}],
    "sources": {
        "nih": {
            "studies": 4, "head": {"AUROC": 0.7}, "text": {"model": {"micro-F1": ESTIMATE}}, "abstaining": {},
            "findings": {
                name: {"positive": 2, "AUROC": area, "AUROC low": 0.4, "AUROC high": 0.9, "ECE": 0.1}
                for name, area in (("effusion", 0.8), ("mass", 0.6))
            },
            "abnormal": {"abnormal": 3, "normal": 1, "AUROC": 0.7, "AUROC low": 0.55, "AUROC high": 0.9},
            "points": {"balanced": {"normal": 1, **dict.fromkeys(("false alarms", "sensitivity", "urgent"), ESTIMATE)}},
        },
    },
}  # fmt: skip


def test_the_shipped_card_is_what_the_command_writes(tmp_path: Path) -> None:
    """`card weights/xray-report-reference.pt --config reference --out weights/MODEL_CARD.md`."""
    written = tmp_path / "MODEL_CARD.md"
    arguments = [str(WEIGHTS / "xray-report-reference.pt"), "--config", "reference", "--out", str(written)]
    assert main(["card", *arguments]) == 0
    assert written.read_text() == (WEIGHTS / "MODEL_CARD.md").read_text()
    assert written.with_suffix(".svg").is_file()


def test_a_card_holds_every_figure_of_the_manifest(
    tiny_model: ReportModel,
    tiny_tokenizer: Tokenizer,
    tiny_config: Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Tables of texts, leads with their intervals, and each source by itself."""
    export_model(tiny_model, tiny_tokenizer, tiny_config, tmp_path / "tiny.pt", metrics=METRICS)
    assert main(["card", str(tmp_path / "tiny.pt")]) == 0
    text = capsys.readouterr().out
    for part in ("without `<unk>` and cut", "BLEU-4 +.050 (-.010 to .100)", "### nih", "| finding head | 4 |", ".400"):
        assert part in text, part


def test_a_card_begins_with_what_to_know(
    tiny_model: ReportModel, tiny_tokenizer: Tokenizer, tiny_config: Config, tmp_path: Path
) -> None:
    """A picture of what it sees, beside the card; reports drawn at random; then the tables."""
    export_model(tiny_model, tiny_tokenizer, tiny_config, tmp_path / "tiny.pt", metrics=METRICS)
    assert main(["card", str(tmp_path / "tiny.pt"), "--out", str(tmp_path / "CARD.md")]) == 0
    text, picture = (tmp_path / "CARD.md").read_text(), (tmp_path / "CARD.svg").read_text()
    parts = ["(CARD.svg)", "- **effusion, mass** (nih): There is an effusion.", "## The checkpoint", "## Measured"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    for said in ("effusion (2)", "abnormal (3)", ">0.60<", "balanced: normal studies given a finding", "30%"):
        assert said in picture, said
    assert main(["card", str(tmp_path / "tiny.pt"), "--out", str(tmp_path / "CARD.md")]) == 0
    assert (tmp_path / "CARD.svg").read_text() == picture


def test_a_checkpoint_without_figures_says_so(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a file that is none is an error in one line."""
    assert main(["card", str(tiny_checkpoint)]) == 0
    assert "Nothing yet." in capsys.readouterr().out
    assert main(["card", str(tmp_path / "none.pt")]) == 2
    assert "error:" in capsys.readouterr().err
