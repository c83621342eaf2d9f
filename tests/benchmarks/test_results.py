"""What benchmarks write, and the checkpoint the one for a GPU makes for itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.inference.checkpoint import load_checkpoint
from benchmarks import decode, gpu
from benchmarks.results import Row, print_table, write
from tests.conftest import ROOT


def test_what_was_not_measured_is_neither_met_nor_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no value in the file, and in the table nothing but its note."""
    rows = [Row("one", 1.0, "ms", goal=2.0), Row("other", None, "ms", goal=2.0, note="not measured: why")]
    written = json.loads(write("x", rows, tmp_path).read_text())["rows"]
    assert [(row["value"], row["met"]) for row in written] == [(1.0, False), (None, None)]
    print_table("x", rows)
    *_, last = capsys.readouterr().out.splitlines()
    assert last.split() == ["other", "not", "measured:", "why"]


def test_the_checkpoint_made_for_a_gpu_has_the_shape_of_the_shipped_one(tmp_path: Path) -> None:
    """So that it can stand for that one, where an older torch cannot load it."""
    gpu.make_checkpoint(tmp_path / "random.pt")
    made = load_checkpoint(tmp_path / "random.pt").manifest
    shipped = load_checkpoint(ROOT / "weights" / "xray-report-reference.pt").manifest
    network = shipped.config["model"] | {"max_new_tokens": decode.TOKENS, "encoder_weights": ""}
    assert {key: made.config["model"][key] for key in network} == network
    assert made.vocabulary_size == shipped.vocabulary_size
