"""Bootstrap: how far a score, or the difference between two systems, depends on which studies were drawn.

Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model_training.metrics.agreement import FloatArray
from model_training.metrics.registry import StudyScores


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score on all studies, or a difference of scores, and the bounds of its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """The interval leaves out 0."""
        return self.low > 0 or self.high < 0


def bootstrap(system: StudyScores, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> dict[str, Estimate]:
    """Every score of one system, by name, with its percentile interval over resampled studies.

    A score undefined on all studies is left out. CIDEr keeps the n-gram weights of the full set.
    """
    resampled = system.totals(_draws(len(system), resamples, seed))
    return {
        name: _estimate(value, resampled[name], level) for name, value in system.totals().items() if not np.isnan(value)
    }


def paired_bootstrap(
    system: StudyScores, baseline: StudyScores, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Estimate]:
    """Difference of every score, by name, with its percentile interval over resampled studies.

    Both systems are scored on the same draws. A score undefined for either is left out, a draw in which it is undefined
    takes no part in its interval. CIDEr keeps the n-gram weights of the full set. Raises `ValueError` when the two do
    not have the same number of studies.
    """
    studies = len(system)
    if studies != len(baseline):
        raise ValueError(f"cannot pair {studies} studies with {len(baseline)}")
    weights = _draws(studies, resamples, seed)
    whole, other = system.totals(), baseline.totals()
    resampled, other_resampled = system.totals(weights), baseline.totals(weights)
    return {
        name: _estimate(value - other[name], resampled[name] - other_resampled[name], level)
        for name, value in whole.items()
        if name in other and not np.isnan(value - other[name])
    }


def estimate(
    statistic: Callable[[FloatArray], FloatArray],
    studies: int,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Any statistic with its percentile interval, given as a function of weights [..., studies] to values [...]."""
    return _estimate(statistic(np.ones(studies)), statistic(_draws(studies, resamples, seed)), level)


def _draws(studies: int, resamples: int, seed: int) -> FloatArray:
    """How often each study is drawn, [resamples, studies]."""
    draws = np.random.default_rng(seed).multinomial(studies, np.full(studies, 1 / studies), size=resamples)
    return draws.astype(np.float64)


def _estimate(value: FloatArray, resampled: FloatArray, level: float) -> Estimate:
    low, high = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value), float(low), float(high))


def share(flags: Sequence[bool]) -> Estimate | None:
    """The share of flags that are set; None where there are none."""
    return mean([float(flag) for flag in flags])


def mean(numbers: Sequence[float]) -> Estimate | None:
    """The mean; None where there are none."""
    if not numbers:
        return None
    values: FloatArray = np.array(numbers, dtype=np.float64)
    return estimate(lambda weights: np.asarray(weights @ values / weights.sum(axis=-1)), len(values))
