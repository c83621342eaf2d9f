"""How far the probabilities of the finding head can be trusted, and what abstaining buys.

Arrays are [studies, findings]; a target is 1, 0, or NaN where the study is not labelled for the finding, which then
takes no part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model_training.agreement import FloatArray

_LOG_TEMPERATURE_LIMIT = 3.0  # a finding that is always or never right has no finite optimum


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


def fit_temperatures(logits: FloatArray, targets: FloatArray) -> FloatArray:
    """The temperature of each finding [findings] that minimises cross-entropy (Guo et al., ICML 2017).

    Fit on validation, then use `sigmoid(logits / temperature)`. A standard normal prior on the logarithm keeps
    temperatures near 1 where a few studies that happen to be told apart without error would call for certainty. They
    stay within e^-3 and e^3; a finding labelled with one class only, or not at all, keeps 1.
    """
    known = ~np.isnan(targets)
    positives = np.nansum(targets, axis=0)
    fittable = torch.from_numpy((positives > 0) & (positives < known.sum(axis=0)))
    logit = torch.from_numpy(np.asarray(logits, dtype=np.float64))
    target = torch.from_numpy(np.where(known, targets, 0.0))
    weight = torch.from_numpy(known.astype(np.float64))
    raw = torch.zeros(logit.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([raw], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        scaled = logit * torch.exp(-_bounded(raw))
        total = F.binary_cross_entropy_with_logits(scaled, target, weight=weight, reduction="none").sum(dim=0)
        total = total + 0.5 * _bounded(raw) ** 2
        mean = (total / weight.sum(dim=0).clamp(min=1))[fittable].sum()
        if mean.requires_grad and fittable.any():
            mean.backward()  # type: ignore[no-untyped-call]
        return mean

    if fittable.any():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    temperatures = torch.exp(_bounded(raw.detach()))
    return np.asarray(torch.where(fittable, temperatures, torch.ones_like(temperatures)).numpy(), dtype=np.float64)


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


def _bounded(raw: Tensor) -> Tensor:
    return _LOG_TEMPERATURE_LIMIT * torch.tanh(raw / _LOG_TEMPERATURE_LIMIT)


def _mean(values: FloatArray, known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FloatArray:
    count = known.sum(axis=0)
    return np.asarray(np.where(count > 0, values.sum(axis=0) / np.maximum(count, 1), np.nan), dtype=np.float64)
