"""Scores within a source, held to cases made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from app.inference.checkpoint import load_checkpoint
from model_training.evaluation.finding_scores import Calibration, HeadOutput, resampled_areas, score_findings
from model_training.evaluation.source_scores import score_source_head, score_sources
from model_training.export import undecided
from tests.model_training.evaluation.test_label_scores import study
from tests.model_training.reports import generated, report


def test_areas_are_over_common_findings_alone() -> None:
    """The first has 15 positive studies and is ranked without error, the second has one and is not."""
    targets = np.zeros((40, 2))
    targets[:15, 0] = targets[0, 1] = 1
    logits = np.stack([targets[:, 0] * 4 - 2, -targets[:, 1]], axis=1)
    output, calibration = HeadOutput(("a", "b"), logits, targets), Calibration(np.ones(2), np.zeros(2), np.full(2, 0.5))
    areas = resampled_areas(output)
    row = score_source_head(output, calibration, score_findings(output, calibration, areas), areas)
    assert row.common_findings == 1
    assert row.auroc == row.auroc_low == row.auroc_high == 1
    assert row.mean_auroc == 0.5


def test_each_source_is_scored_on_its_own(tiny_checkpoint: Path) -> None:
    """A model that tells the sources apart and nothing else scores as a constant in each."""
    ours = [study("1", "a", effusion=True), study("2", "a", effusion=True), study("3", "b"), study("4", "b")]
    made = [generated(one, report("Pleural effusion." if one.source == "a" else "Normal.")) for one in ours]
    output = HeadOutput(("effusion",), np.array([[2.0], [2.0], [-2.0], [-2.0]]), np.array([[1.0], [1.0], [0.0], [0.0]]))
    manifest = replace(load_checkpoint(tiny_checkpoint).manifest, findings=(undecided("effusion"),))
    sources = score_sources({"model": made}, ours, output, None, manifest)
    assert list(sources) == ["a", "b"]
    lead = sources["a"].text["best constant"].lead
    assert lead is not None
    assert lead.value == 0
    assert sources["b"].text == {}
    assert np.isnan(sources["a"].head.mean_auroc)
    assert (sources["a"].abnormal, sources["a"].points) == (None, {})
