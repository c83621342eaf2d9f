"""What is decided by thresholds, and what of it a report is told to state, to deny and to pass over."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.inference.anatomy import Cells
from app.inference.checkpoint import load_checkpoint
from app.inference.decisions import Decider
from app.inference.manifest import FindingDecision, Threshold
from app.inference.options import OPERATING_POINTS
from app.text.facts import ASSERTIONS

HALF = dict.fromkeys(OPERATING_POINTS, Threshold(0.5))
NAMES = ("effusion", "infiltration", "pneumonia", "nodule")  # the second and third are one to the labeller


@pytest.mark.parametrize(
    ("probabilities", "whole", "ruled_out", "told"),
    [
        ((0.1, 0.1, 0.1, 0.1), 0.2, ["effusion", "infiltration", "pneumonia"], "denied denied denied over denied"),
        ((0.3, 0.1, 0.1, 0.1), 0.2, ["infiltration", "pneumonia"], "over denied denied over denied"),
        ((0.1, 0.3, 0.1, 0.1), 0.2, ["effusion", "pneumonia"], "denied over over over denied"),
        ((0.6, 0.1, 0.1, 0.1), 0.9, ["infiltration", "pneumonia"], "stated denied denied over stated"),
        ((0.6, 0.1, 0.1, 0.1), 0.2, ["infiltration", "pneumonia"], "stated denied denied over stated"),
        ((0.1, 0.1, 0.6, 0.6), 0.9, ["effusion", "infiltration"], "denied over stated stated stated"),
    ],
)
def test_only_what_is_ruled_out_is_denied(
    tiny_checkpoint: Path, probabilities: tuple[float, ...], whole: float, ruled_out: list[str], told: str
) -> None:
    """Stated from the threshold on, denied below a bound of its own together with all that the labeller calls the same,
    passed over between the two; a study is never less abnormal than one of its findings."""
    findings = [FindingDecision(name, 1.0, HALF, denied_below=0.2 if name != "nodule" else None) for name in NAMES]
    manifest = replace(
        load_checkpoint(tiny_checkpoint).manifest,
        findings=tuple(findings),
        abnormal=FindingDecision("abnormal", 1.0, HALF),
    )
    logits = [math.log(p / (1 - p)) for p in (*probabilities, whole)]
    evidence, anatomy = torch.zeros(1, 4, 5), torch.zeros(1, 3, 2, 2)
    decided = Decider(manifest, Cells(0.0, 0.5))(logits, evidence, anatomy, [False], "balanced")
    assert [one.name for one in decided.findings if one.ruled_out] == ruled_out
    assert [ASSERTIONS[fact.assertion].split()[-1] for fact in decided.facts] == told.split()
