"""How often each study is learnt from in an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def study_weights(
    sources: Sequence[str | None], labels: Floats, *, source_balance: float, class_balance: float
) -> Floats:
    """How often each study is to be drawn relative to the others, [studies], from labels [studies, findings].

    `source_balance` moves the share of a source from its size (0) to the same for all (1). `class_balance` is the power
    of a finding's rarity with which studies that have it are repeated: that of their rarest one counts (repeat-factor
    sampling, Gupta et al., "LVIS", CVPR 2019, with the commonest finding as the threshold).
    """
    names, members = np.unique([source or "" for source in sources], return_inverse=True)
    by_source = (np.bincount(members, minlength=len(names))[members] / len(members)) ** -source_balance
    positives = np.nansum(labels == 1, axis=0)
    commonness = positives / max(1, positives.max(initial=0))
    repeats = np.where(labels == 1, commonness.clip(1e-9) ** -class_balance, 1.0).max(axis=1, initial=1.0)
    return np.asarray(by_source * repeats, dtype=np.float64)


def epoch_order(weights: Floats, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """As many draws as studies in random order, each study as often as its weight says, by chance rounded up or down.

    Draw `i + n * studies` is the nth repetition of study `i`, so that no two draws are the same. With equal weights
    every study is drawn once.
    """
    order = rng.permutation(len(weights))
    if np.ptp(weights) == 0:
        return order
    # Systematic resampling over a random order: evenly spaced points in the cumulated weights.
    shares = np.cumsum(weights[order])
    drawn = order[np.searchsorted(shares / shares[-1], (np.arange(len(weights)) + rng.random()) / len(weights))]
    positions = np.arange(len(drawn))  # repetitions of a study lie side by side
    first = np.maximum.accumulate(np.where(np.diff(drawn, prepend=-1) != 0, positions, 0))
    return rng.permutation(drawn + len(weights) * (positions - first))
