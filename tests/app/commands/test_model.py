"""model prints the essentials of the card, of the checkpoint as it is."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from app.cli import main
from app.inference.checkpoint import load_checkpoint
from app.report import DISCLAIMER
from tests.conftest import ROOT

pytestmark = pytest.mark.anyio


def test_essentials(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the shipped one: use, views, every finding at every operating point, intervals, licences, disclaimer."""
    (path,) = (ROOT / "weights").glob("*.pt")
    manifest = load_checkpoint(path).manifest
    assert main(["model", "--checkpoint", str(path)]) == 0
    printed = capsys.readouterr().out
    words = " ".join(printed.split())
    assert words.startswith(f"{manifest.name} {manifest.version} SHA-256 ")
    assert manifest.intended_use in words
    assert "frontal, 1 to 4 a study; lateral are told from them and not read." in words
    for finding in manifest.findings:
        point = finding.thresholds["balanced"]
        assert f"{finding.name.replace('_', ' ')} {point.probability:.1%} {point.sensitivity:.2f}" in words
    head = manifest.metrics["finding head"]
    assert f"{head['mean AUROC']:.3f} ({head['mean AUROC low']:.3f} to {head['mean AUROC high']:.3f})" in words
    assert all(" ".join(line.split()) in words for line in manifest.training_data)
    assert "LICENSE" in words
    assert printed.strip().endswith(DISCLAIMER)


def test_without_figures(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint that was never evaluated says nothing of how good it is."""
    assert main(["model", "--checkpoint", str(tiny_checkpoint)]) == 0
    assert "On test" not in capsys.readouterr().out


async def test_json(client: httpx.AsyncClient, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json is what the service answers."""
    assert main(["model", "--checkpoint", str(tiny_checkpoint), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == (await client.get("/v1/model")).json()


def test_wrong_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what is wrong with it."""
    assert main(["model", "--checkpoint", str(tmp_path / "none.pt")]) == 1
    assert "cannot be read" in capsys.readouterr().err
