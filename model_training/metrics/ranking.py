"""How well scores rank what is there above what is not.

Arrays are [studies, findings]; a target is 1, 0, or NaN where the study is not labelled for the finding, which then
takes no part.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from model_training.metrics.agreement import FloatArray, ratio


def auroc(scores: FloatArray, targets: FloatArray) -> FloatArray:
    """Probability that a positive study outranks a negative one, ties counting half, per finding [findings]; NaN
    without both classes."""
    areas = np.full(scores.shape[1], np.nan)
    for i, known in enumerate(~np.isnan(targets).T):
        if len(np.unique(targets[known, i])) == 2:
            areas[i] = roc_auc_score(targets[known, i], scores[known, i])
    return areas


def average_precision(scores: FloatArray, targets: FloatArray) -> FloatArray:
    """Precision averaged over the recall it adds, from the highest score down, studies of equal score together, per
    finding [findings]; NaN without a positive study."""
    values = np.full(scores.shape[1], np.nan)
    for i, known in enumerate(~np.isnan(targets).T):
        if targets[known, i].any():
            values[i] = average_precision_score(targets[known, i], scores[known, i])
    return values


def resampled_auroc(scores: FloatArray, targets: FloatArray, weights: FloatArray) -> FloatArray:
    """`auroc` [..., findings] for weights [..., studies]: how often each study was drawn.

    One sort serves all draws. A bootstrap asks for thousands of areas, and scikit-learn takes milliseconds for each.
    """
    areas = np.full((*weights.shape[:-1], scores.shape[1]), np.nan)
    for i, known in enumerate(~np.isnan(targets).T):
        if known.any():
            order = np.flatnonzero(known)[np.argsort(scores[known, i])]
            _, first_of_tie = np.unique(scores[order, i], return_index=True)
            drawn, positive = weights[..., order], targets[order, i]
            positives = np.add.reduceat(drawn * positive, first_of_tie, axis=-1)
            negatives = np.add.reduceat(drawn * (1 - positive), first_of_tie, axis=-1)
            outranked = np.cumsum(negatives, axis=-1) - negatives / 2
            areas[..., i] = ratio((positives * outranked).sum(-1), positives.sum(-1) * negatives.sum(-1))
    return areas
