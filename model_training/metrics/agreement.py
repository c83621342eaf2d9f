"""How far two labellings of the same studies agree: counts a study, and the scores that follow from them.

Counts are kept per study, so that a bootstrap can resample studies without labelling anything twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.text.findings import FINDINGS, POSITIVE, Mention

Labels = Mapping[str, Mention]
FloatArray = NDArray[np.float64]


def label_counts(references: Sequence[Labels], hypotheses: Sequence[Labels]) -> FloatArray:
    """[studies, findings, 3]: 1 where a study is a true positive, false positive, false negative of a finding."""
    wanted, found = _positive(references), _positive(hypotheses)
    return np.stack([wanted & found, ~wanted & found, wanted & ~found], axis=-1).astype(np.float64)


def side_counts(references: Sequence[Labels], hypotheses: Sequence[Labels]) -> FloatArray:
    """[studies, 2]: findings both name and the reference gives a side, and those of them with equal sides."""
    rows = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        pairs = [
            (mention.sides, hypothesis[name].sides)
            for name, mention in reference.items()
            if mention.sides and mention.status in POSITIVE
            if name in hypothesis and hypothesis[name].status in POSITIVE
        ]
        rows.append((len(pairs), sum(wanted == found for wanted, found in pairs)))
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def f1(counts: FloatArray) -> FloatArray:
    """F1 from [..., 3] counts; NaN where neither side names the finding."""
    true_positive, false_positive, false_negative = np.moveaxis(counts, -1, 0)
    return ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative)


def micro_f1(counts: FloatArray) -> FloatArray:
    """F1 over all findings together, from [..., findings, 3] counts summed over studies."""
    return f1(counts.sum(axis=-2))


def macro_f1(counts: FloatArray) -> FloatArray:
    """Mean of the findings' F1, from [..., findings, 3]; a finding neither side names takes no part."""
    scores = f1(counts)
    return ratio(np.nansum(scores, axis=-1), np.sum(~np.isnan(scores), axis=-1, dtype=np.float64))


def ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """part / whole, NaN where whole is 0."""
    quotient: FloatArray = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
    return quotient


def _positive(labellings: Sequence[Labels]) -> NDArray[np.bool_]:
    named = [[name in labels and labels[name].status in POSITIVE for name in FINDINGS] for labels in labellings]
    return np.array(named, dtype=np.bool_).reshape(-1, len(FINDINGS))
