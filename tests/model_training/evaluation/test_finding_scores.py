"""The finding head: ranking, decisions and calibration, by cases worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.inference.manifest import FindingDecision, Threshold
from app.inference.options import OPERATING_POINTS
from model_training.data.study import Study, StudyImage, View
from model_training.evaluation import selective_prediction
from model_training.evaluation.finding_scores import (
    Calibration,
    HeadOutput,
    score_head,
    view_accuracy,
)
from model_training.metrics.calibration import expected_calibration_error, fit_calibration
from model_training.metrics.ranking import auroc
from model_training.reporting import risk_coverage
from tests.model_training.reports import generated, report

NAN = float("nan")


def column(*values: float) -> np.ndarray:
    """One finding, [studies, 1]."""
    return np.array(values, dtype=np.float64)[:, None]


def synthetic(studies: int = 4000, overconfidence: float = 3.0, seed: int = 0) -> HeadOutput:
    """Two findings whose targets follow the logits divided by `overconfidence`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(studies, 2))
    targets = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float64)
    return HeadOutput(("a", "b"), overconfidence * logits, targets)


def test_raw_logits_are_found_again_behind_temperature_and_bias() -> None:
    """Calibration starts from what the network said, whatever the checkpoint made of it."""
    made = report(probabilities=[1 / (1 + np.exp(-3.0 / 2.0 - 0.5)), 1.0])
    likelier = dict.fromkeys(OPERATING_POINTS, Threshold(0.5))
    findings = [FindingDecision("a", 2.0, likelier, bias=0.5), FindingDecision("b", 1.0, likelier)]
    study = Study("1", (), labels=(("a", True), ("b", None)))
    output = HeadOutput.of([generated(study, made)], findings)
    assert output.logits[0, 0] == pytest.approx(3.0)
    assert np.isfinite(output.logits[0, 1])
    assert output.targets[0, 0] == 1
    assert np.isnan(output.targets[0, 1])


def test_calibration_lowers_the_error_of_an_overconfident_head() -> None:
    """Fitted on one sample, it holds on another."""
    sample, fresh = synthetic(seed=1), synthetic(seed=2)
    temperatures, biases = fit_calibration(sample.logits, sample.targets)
    fitted = Calibration(temperatures, biases, np.full(2, 0.5))
    rows = score_head(fresh, fitted).findings
    for name, row in rows.items():
        assert row.ece < 0.3 * row.ece_before, name
        assert row.brier < row.brier_before, name
        assert row.labelled == 4000
    before = expected_calibration_error(fresh.probabilities(), fresh.targets)
    assert [row.ece_before for row in rows.values()] == pytest.approx(before)


def test_the_interval_of_the_mean_auroc_holds_the_truth() -> None:
    """It brackets the figure of a sample a hundred times the size."""
    truth = np.mean(auroc(*(lambda o: (o.logits, o.targets))(synthetic(40_000, seed=3))))
    output = synthetic(400, seed=4)
    figures = score_head(output, Calibration(np.ones(2), np.zeros(2), np.full(2, 0.5))).summary
    assert figures.mean_auroc_low < truth < figures.mean_auroc_high
    assert figures.mean_auroc_low < figures.mean_auroc < figures.mean_auroc_high


def test_views_count_where_the_source_names_them() -> None:
    """One of two is right; the third is not known."""
    guesses: list[tuple[View, View | None]] = [("frontal", "frontal"), ("frontal", "lateral"), ("frontal", None)]
    made = [
        generated(Study(str(i), ()), report("x", view=said), [StudyImage(Path("x"), true)])
        for i, (said, true) in enumerate(guesses)
    ]
    assert view_accuracy(made) == 0.5
    assert np.isnan(view_accuracy([]))


def test_the_loss_of_a_report_is_what_its_label_f1_lacks() -> None:
    """Found one of two, invented the only one, and rightly nothing to say."""
    counts = np.array([[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]], dtype=np.float64)
    assert selective_prediction.report_losses(counts) == pytest.approx([1 / 3, 1, 0])


def test_abstaining_follows_the_signal_that_knows(tmp_path: Path) -> None:
    """Scores that order the losses rightly end below those that do not; reports without reference take no part."""
    studies = [Study(str(i), ()) for i in range(4)]
    output = HeadOutput(("a",), column(0.1, 0.2, 5, 9), column(1, 0, 1, 1))
    calibration = Calibration(np.ones(1), np.zeros(1), np.full(1, 0.5))
    made = [
        generated(study, report("x", score=-float(i), probabilities=row))
        for i, (study, row) in enumerate(zip(studies, output.calibrated(calibration).tolist(), strict=True))
    ]
    confidences = selective_prediction.confidence(made, None)
    curves = selective_prediction.curves(made, np.array([0, 0, 1, NAN]), confidences, output, calibration)
    figures = risk_coverage.rows(curves)
    assert figures[selective_prediction.BY_SCORE]["risk at 50%"] == 0
    assert figures[selective_prediction.BY_SCORE]["risk at 100%"] == pytest.approx(1 / 3)
    assert figures[selective_prediction.BY_HEAD]["risk at 25%"] == 1
    # Of the decisions the second is wrong, and the second least sure.
    assert figures[selective_prediction.DECISIONS]["risk at 50%"] == 0
    assert figures[selective_prediction.DECISIONS]["risk at 100%"] == pytest.approx(1 / 4)
    risk_coverage.plot(curves, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
