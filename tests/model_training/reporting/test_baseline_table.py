"""The command `baselines`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from model_training.__main__ import main
from model_training.evaluation.baselines import CONSTANT, FREQUENT, RANDOM, TAGS


def _studies(count: int, split: str) -> list[dict[str, object]]:
    texts = ("The heart is enlarged.", "There is a left effusion.", "The lungs are clear. No effusion.")
    return [
        {"id": f"CXR{len(split)}{i}_IM-1", "report": texts[i % 3], "image_path": [], "split": split}
        for i in range(count)
    ]


def test_the_command_prints_every_baseline_and_the_published_systems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tables, under the protocol and without its losses, and the constant itself."""
    monkeypatch.setattr(shutil, "which", lambda _: None)  # METEOR takes seconds and is not the matter here
    annotation = {"train": _studies(9, "train"), "test": _studies(3, "test")}
    (tmp_path / "annotation.json").write_text(json.dumps(annotation))
    assert main(["baselines", "--data", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for name in (CONSTANT, FREQUENT, TAGS, RANDOM):
        assert printed.count(f"\n| {name}") == 2
    assert "| SMAN 2026 | .518 |" in printed
    assert "Without <unk> and cut" in printed


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A collection without a training split is an error."""
    (tmp_path / "annotation.json").write_text(json.dumps({"test": _studies(3, "test")}))
    assert main(["baselines", "--data", str(tmp_path)]) == 2
    assert "train or test split" in capsys.readouterr().err
