"""Operating points, as they are scored on studies made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from app.inference.options import OPERATING_POINTS
from model_training.evaluation.operating_points import FALSE_ALARMS, WORTH, fit_points, score_points

NAMES = ("effusion", "mass")


def test_a_point_is_scored_by_false_alarms_and_by_what_it_finds() -> None:
    """A finding counts in an abnormal study alone; the urgent ones apart."""
    probabilities = np.array([[0.9, 0.1, 0.9]] * 20 + [[0.9, 0.9, 0.1]] * 10 + [[0.2, 0.9, 0.9]] * 10)
    targets = np.array([[1.0, 0, 1]] * 20 + [[0.0, 0, 0]] * 10 + [[0.0, 0, 0]] * 5 + [[1.0, 1, 1]] * 5)
    scores = score_points(NAMES, probabilities, targets, {"balanced": np.array([0.5, 0.5, 0.5])})["balanced"]
    assert scores.normal == 15
    assert scores.false_alarms
    assert scores.false_alarms.value == pytest.approx(5 / 15)  # those of the first ten are not called abnormal
    assert scores.urgent
    assert scores.urgent.value == pytest.approx(20 / 25)
    assert scores.sensitivity == scores.urgent  # of masses there are too few


def test_rare_findings_are_stated_from_a_lesser_probability_on() -> None:
    """By the square root of how common they are, at every point; more sensitive points have lesser thresholds."""
    rng = np.random.default_rng(0)
    targets = (rng.random((4000, 2)) < [0.3, 0.02]).astype(np.float64)
    whole = targets.any(axis=1)
    evidence = rng.normal(size=targets.shape) + 1.5 * targets
    probabilities = 1 / (1 + np.exp(-(evidence - [1.6, 4.4])))
    gate = 1 / (1 + np.exp(-(rng.normal(size=4000) + 2 * whole - 1)))
    fitted = fit_points(("mass", "nodule"), np.column_stack([probabilities, gate]), np.column_stack([targets, whole]))
    common, rare = targets.mean(axis=0)
    for p, point in enumerate(OPERATING_POINTS):
        ratio = fitted.probabilities[p, 1] / fitted.probabilities[p, 0]
        assert ratio == pytest.approx(np.sqrt(rare / common), rel=0.05), point
    balanced, sensitive, specific = fitted.probabilities
    assert (sensitive <= balanced).all()
    assert (specific >= balanced).all()


def test_urgent_findings_are_stated_from_lesser_multiples_on() -> None:
    """More of them is found than by one multiple for all, within the same false alarms."""
    rng = np.random.default_rng(1)
    targets = (rng.random((4000, 2)) < 0.06).astype(np.float64)
    whole = targets.any(axis=1)
    probabilities = 1 / (1 + np.exp(-(rng.normal(size=targets.shape) + 0.7 * targets - 3.0)))
    gate = 1 / (1 + np.exp(-(rng.normal(size=4000) + whole - 1)))
    given = np.column_stack([probabilities, gate])
    truth = np.column_stack([targets, whole]).astype(np.float64)
    thresholds = fit_points(NAMES, given, truth).probabilities[OPERATING_POINTS.index("balanced")]
    assert thresholds[0] < 0.8 * thresholds[1]
    equal = fit_points(("mass", "nodule"), given, truth).probabilities[OPERATING_POINTS.index("balanced")]
    assert equal[0] == pytest.approx(equal[1], rel=0.2)
    scores = [score_points(NAMES, given, truth, {"balanced": t})["balanced"] for t in (thresholds, equal)]
    alarms, urgent = ([getattr(one, name).value for one in scores] for name in ("false_alarms", "urgent"))
    assert urgent[0] > urgent[1]
    assert max(alarms) <= FALSE_ALARMS["balanced"]


def test_no_source_pays_for_the_quiet_of_another() -> None:
    """Of one whose normal studies look ill no more than the share is given a finding, however many others look well."""
    rng = np.random.default_rng(2)
    sources = (np.arange(6000) % 3 == 0).astype(np.int64)
    targets = (rng.random((6000, 2)) < 0.1).astype(np.float64)
    whole = targets.any(axis=1).astype(np.float64)
    shift = np.where(sources == 1, 0.0, -3.0)[:, None]
    probabilities = 1 / (1 + np.exp(-(rng.normal(size=targets.shape) + 2 * targets - 2.0 + shift)))
    given, truth = np.column_stack([probabilities, probabilities.max(axis=1)]), np.column_stack([targets, whole])
    shares = []
    for told in (None, sources):
        thresholds = fit_points(NAMES, given, truth, told).probabilities[OPERATING_POINTS.index("balanced")]
        of_one = [given[sources == 1], truth[sources == 1]]
        scored = score_points(NAMES, of_one[0], of_one[1], {"balanced": thresholds})["balanced"]
        assert scored.false_alarms
        shares.append(scored.false_alarms.value)
    assert shares[0] > FALSE_ALARMS["balanced"] >= shares[1]


def test_what_the_head_cannot_tell_is_passed_over() -> None:
    """A finding that is not urgent is stated where that is right often enough, or not at all; but when asked to be
    sensitive."""
    rng = np.random.default_rng(3)
    targets = (rng.random((3000, 3)) < 0.08).astype(np.float64)
    whole = targets.any(axis=1).astype(np.float64)
    seen = np.array([2.0, 2.0, 0.0])  # of the last one nothing
    probabilities = 1 / (1 + np.exp(-(rng.normal(size=targets.shape) + seen * targets - 3.0)))
    gate = 1 / (1 + np.exp(-(rng.normal(size=3000) + whole - 1)))
    given, truth = np.column_stack([probabilities, gate]), np.column_stack([targets, whole])
    fitted = fit_points(("effusion", "mass", "hernia"), given, truth)
    for point in OPERATING_POINTS:
        said = fitted.decided(point, given)
        right = (said & (targets == 1)).sum(axis=0) / said.sum(axis=0).clip(min=1)
        if point == "sensitive":
            assert said[:, 2].any()
            assert right[2] < WORTH
        else:
            assert not said[:, 2].any() or right[2] >= WORTH
            assert right[1] >= WORTH
