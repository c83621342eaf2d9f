"""How far the probabilities of the finding head can be trusted, and what abstaining buys.

Arrays are [studies, findings]; a target is 1, 0, or NaN where the study is not labelled for the finding, which then
takes no part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from model_training.metrics.agreement import FloatArray


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


def fit_calibration(logits: FloatArray, targets: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Temperature and bias of each finding [2, findings] that minimise cross-entropy (Platt 1999; Guo et al., ICML
    2017).

    Fit on validation, then use `sigmoid(logits / temperature + bias)`. Studies count by `weights` [studies] relative to
    each other, all the same without. A standard normal prior on the logarithm of the temperature and on the bias keeps
    them near 1 and 0 where a few studies that happen to be told apart without error would call for certainty. A finding
    labelled with one class only, or not at all, keeps 1 and 0.
    """
    found = np.tile([[1.0], [0.0]], logits.shape[1])
    for i in range(logits.shape[1]):
        known = ~np.isnan(targets[:, i])
        if len(np.unique(targets[known, i])) < 2:
            continue
        x, sign = logits[known, i], np.where(targets[known, i] == 1, -1.0, 1.0)
        share = np.ones(len(x)) if weights is None else weights[known]
        share = share * len(x) / share.sum()  # the sum stays that of as many studies, or the prior would count more

        def loss(p: FloatArray, x: FloatArray = x, sign: FloatArray = sign, share: FloatArray = share) -> float:
            wrong = sign * (x * np.exp(-p[0]) + p[1])
            return float((share * np.logaddexp(0, wrong)).sum() + 0.5 * (p**2).sum())

        log_temperature, bias = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-3, 3), (-6, 6)]).x
        found[:, i] = np.exp(log_temperature), bias
    return found


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
