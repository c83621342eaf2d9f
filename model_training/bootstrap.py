"""Paired bootstrap: how far the difference between two systems depends on which studies were drawn.

Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_training.metrics import StudyScores


@dataclass(frozen=True, slots=True)
class Difference:
    """System minus baseline on all studies, and the bounds of its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """The interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    system: StudyScores, baseline: StudyScores, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Difference]:
    """Difference of every score, by name, with its percentile interval over resampled studies.

    Both systems are scored on the same draws. A score undefined for either is left out, a draw in which it is undefined
    takes no part in its interval. CIDEr keeps the n-gram weights of the full set. Raises `ValueError` when the two do
    not have the same number of studies.
    """
    studies = len(system.bleu)
    if studies != len(baseline.bleu):
        raise ValueError(f"cannot pair {studies} studies with {len(baseline.bleu)}")
    draws = np.random.default_rng(seed).multinomial(studies, np.full(studies, 1 / studies), size=resamples)
    weights = draws.astype(np.float64)
    whole, other = system.totals(), baseline.totals()
    resampled, other_resampled = system.totals(weights), baseline.totals(weights)
    differences = {}
    for name, value in whole.items():
        if name not in other or np.isnan(value - other[name]):
            continue
        sample = resampled[name] - other_resampled[name]
        low, high = np.nanquantile(sample, [(1 - level) / 2, (1 + level) / 2])
        differences[name] = Difference(float(value - other[name]), float(low), float(high))
    return differences
