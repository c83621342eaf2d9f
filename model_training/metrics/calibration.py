"""How far the probabilities of the finding head can be trusted, and what abstaining buys.

Arrays are [studies, findings]; a target is 1, 0, or NaN where the study is not labelled for the finding, which then
takes no part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model_training.metrics.agreement import FloatArray

_LOG_TEMPERATURES = np.linspace(-3, 3, 601)


class RiskCoverage(NamedTuple):
    """Error rate among the answers kept, from the surest one to all of them, and its mean (AURC)."""

    coverage: FloatArray  # [K]
    risk: FloatArray  # [K]
    area: float


def brier(probabilities: FloatArray, targets: FloatArray) -> FloatArray:
    """Mean squared error of the probabilities per finding [findings] (Brier 1950); NaN for an unlabelled finding."""
    known = ~np.isnan(targets)
    squared = np.where(known, (probabilities - np.where(known, targets, 0.0)) ** 2, 0.0)
    return _mean(squared, known)


def expected_calibration_error(probabilities: FloatArray, targets: FloatArray, bins: int = 15) -> FloatArray:
    """Mean gap between probability and frequency over equal-width bins, per finding [findings] (Naeini et al. 2015)."""
    known = ~np.isnan(targets)
    index = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    gap = np.where(known, probabilities - np.where(known, targets, 0.0), 0.0)
    in_bins = [np.abs(np.where(index == b, gap, 0.0).sum(axis=0)) for b in range(bins)]
    count = known.sum(axis=0)
    return np.asarray(np.where(count > 0, np.sum(in_bins, axis=0) / np.maximum(count, 1), np.nan), dtype=np.float64)


def fit_temperatures(logits: FloatArray, targets: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """The temperature of each finding [findings], within 1%, that minimises cross-entropy (Guo et al., ICML 2017).

    Fit on validation, then use `sigmoid(logits / temperature)`. Studies count by `weights` [studies] relative to each
    other, all the same without. A standard normal prior on the logarithm keeps
    temperatures near 1 where a few studies that happen to be told apart without error would call for certainty. They
    stay within e^-3 and e^3; a finding labelled with one class only, or not at all, keeps 1.
    """
    known = ~np.isnan(targets)
    positives = np.nansum(targets, axis=0)
    fittable = (positives > 0) & (positives < known.sum(axis=0))
    # How far each logit lies on the wrong side; the cross-entropy is log(1 + exp(wrong / temperature)).
    wrong = np.where(known, np.where(targets == 1, -1.0, 1.0) * logits, -np.inf)
    # The sum stays that of as many studies, or the prior would count more.
    weighted = known * (1.0 if weights is None else weights[:, None])
    weighted = weighted * known.sum(axis=0) / np.maximum(weighted.sum(axis=0), 1e-12)
    losses = [(weighted * np.logaddexp(0, wrong * np.exp(-t))).sum(axis=0) + 0.5 * t**2 for t in _LOG_TEMPERATURES]
    best = np.exp(_LOG_TEMPERATURES[np.argmin(losses, axis=0)])
    return np.where(fittable, best, 1.0)


def risk_coverage(confidences: FloatArray, errors: FloatArray) -> RiskCoverage:
    """Risk of answering only the surest cases [K], for every share of cases (El-Yaniv and Wiener, JMLR 2010).

    `errors` is 1 for a wrong answer, or any loss. Cases of equal confidence are kept or left together, so that their
    order says nothing. Raises `ValueError` without a case.
    """
    if confidences.size == 0 or confidences.shape != errors.shape:
        raise ValueError(f"{confidences.shape} confidences and {errors.shape} errors")
    order = np.argsort(-confidences, kind="stable")
    ranked = confidences[order]
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    kept = np.arange(1, len(ranked) + 1)[last_of_tie]
    risk = np.cumsum(errors[order])[last_of_tie] / kept
    area = float(np.average(risk, weights=np.diff(kept, prepend=0)))
    return RiskCoverage(kept / len(ranked), np.asarray(risk, dtype=np.float64), area)


def _mean(values: FloatArray, known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FloatArray:
    count = known.sum(axis=0)
    return np.asarray(np.where(count > 0, values.sum(axis=0) / np.maximum(count, 1), np.nan), dtype=np.float64)
