"""How well scores rank what is there above what is not.

Arrays are [studies, findings]; a target is 1, 0, or NaN where the study is not labelled for the finding, which then
takes no part.
"""

from __future__ import annotations

import numpy as np

from model_training.metrics.agreement import FloatArray


def auroc(scores: FloatArray, targets: FloatArray) -> FloatArray:
    """Probability that a positive study outranks a negative one, ties counting half, per finding [findings].

    The Mann-Whitney statistic (Hanley and McNeil, Radiology 1982). NaN without both classes.
    """
    areas = np.full(scores.shape[1], np.nan)
    for i, (column, truth) in enumerate(_labelled(scores, targets)):
        positives, negatives = truth.sum(), (1 - truth).sum()
        if positives and negatives:
            _, index, counts = np.unique(column, return_inverse=True, return_counts=True)
            ranks = (np.cumsum(counts) - (counts - 1) / 2)[index]
            areas[i] = (ranks[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return areas


def average_precision(scores: FloatArray, targets: FloatArray) -> FloatArray:
    """Precision averaged over the recall it adds, from the highest score down, per finding [findings].

    Studies of equal score are taken together. NaN without a positive study.
    """
    values = np.full(scores.shape[1], np.nan)
    for i, (column, truth) in enumerate(_labelled(scores, targets)):
        if truth.sum():
            order = np.argsort(-column, kind="stable")
            last_of_tie = np.append(np.diff(column[order]) != 0, True)
            hits = np.cumsum(truth[order])[last_of_tie]
            taken = np.arange(1, len(truth) + 1)[last_of_tie]
            values[i] = (np.diff(hits, prepend=0) * hits / taken).sum() / truth.sum()
    return values


def _labelled(values: FloatArray, targets: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """Each finding's values and targets over the studies labelled for it."""
    known = ~np.isnan(targets)
    return [(values[known[:, i], i], targets[known[:, i], i]) for i in range(values.shape[1])]
