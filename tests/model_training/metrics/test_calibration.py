"""Calibration of the finding head and the gain from abstaining."""

from __future__ import annotations

import numpy as np
import pytest

from model_training.metrics.calibration import brier, expected_calibration_error, fit_calibration, risk_coverage

RNG = np.random.default_rng(0)


def test_brier_is_the_mean_square_over_labelled_studies() -> None:
    """A study that is not labelled takes no part; a finding nobody labelled has no score."""
    probabilities = np.array([[0.8, 0.5], [0.4, 0.5], [0.9, 0.5]])
    targets = np.array([[1.0, np.nan], [0.0, np.nan], [np.nan, np.nan]])
    score = brier(probabilities, targets)
    assert score[0] == pytest.approx((0.04 + 0.16) / 2)
    assert np.isnan(score[1])


def test_calibration_error_is_the_gap_between_promise_and_frequency() -> None:
    """Promising .9 and keeping .5 is off by .4; keeping the promise is off by nothing."""
    probabilities = np.full((10, 2), 0.9)
    targets = np.array([[1.0, 1.0]] * 5 + [[0.0, 1.0]] * 4 + [[0.0, 0.0]])
    assert expected_calibration_error(probabilities, targets) == pytest.approx([0.4, 0.0])


def test_certainty_falls_into_the_last_bin() -> None:
    """A probability of exactly one is counted."""
    assert expected_calibration_error(np.ones((4, 1)), np.zeros((4, 1))) == pytest.approx([1.0])


def test_fitting_recovers_temperature_and_bias_of_overconfident_logits() -> None:
    """Targets drawn at temperatures 2 and .5, and at biases -1 and .5, are found again, whatever is unlabelled."""
    logits = RNG.normal(scale=3, size=(20_000, 2))
    targets = (RNG.random(logits.shape) < 1 / (1 + np.exp(-logits / [2.0, 0.5] + [1.0, -0.5]))).astype(np.float64)
    targets[:100] = np.nan
    temperatures, biases = fit_calibration(logits, targets)
    assert temperatures == pytest.approx([2.0, 0.5], rel=0.06)
    assert biases == pytest.approx([-1.0, 0.5], abs=0.1)


def test_studies_of_greater_weight_decide() -> None:
    """Of two halves at odds with each other, the one that counts a hundred times as much."""
    logits = RNG.normal(scale=3, size=(20_000, 1))
    targets = (RNG.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float64)
    targets[10_000:] = 1 - targets[10_000:]
    weights = np.repeat([100.0, 1.0], 10_000)
    assert fit_calibration(logits, targets, weights)[0] == pytest.approx([1.0], rel=0.1)


def test_a_finding_of_one_class_keeps_temperature_one() -> None:
    """Nothing can be learnt from positives alone, or from no labels."""
    targets = np.array([[1.0, np.nan, 1.0], [1.0, np.nan, 0.0], [1.0, np.nan, 0.0]])
    temperatures, biases = fit_calibration(np.array([[1.0, 1, 1], [2, 2, -2], [-1, -1, 1]]), targets)
    assert temperatures[:2].tolist() == [1.0, 1.0]
    assert biases[:2].tolist() == [0.0, 0.0]
    assert np.isfinite([temperatures[2], biases[2]]).all()


def test_abstaining_from_the_doubtful_lowers_the_risk() -> None:
    """The curve runs from the surest answer to all of them."""
    curve = risk_coverage(np.array([0.6, 0.9, 0.8, 0.7]), np.array([1.0, 0.0, 0.0, 1.0]))
    assert curve.coverage == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert curve.risk == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((1 / 3 + 1 / 2) / 4)


def test_equal_confidence_is_kept_or_left_together() -> None:
    """The order of studies changes nothing."""
    curve = risk_coverage(np.array([0.5, 0.5, 0.9]), np.array([1.0, 0.0, 0.0]))
    assert curve.coverage == pytest.approx([1 / 3, 1.0])
    assert curve.area == pytest.approx(risk_coverage(np.array([0.5, 0.9, 0.5]), np.array([0.0, 0.0, 1.0])).area)


def test_a_curve_needs_cases() -> None:
    """Nothing to rank is an error."""
    with pytest.raises(ValueError, match="confidences"):
        risk_coverage(np.array([]), np.array([]))
