"""Linear readings of features: logistic regression with an L2 penalty, weighted by group."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from model_training.ood.examples import Group

_FLOOR = 0.02  # deviation below which a feature says nothing: added before dividing by it
_SOLVER = {"tol": 1e-6, "max_iter": 1000}
Label = Callable[[Group], int | None]


def fit_reading(groups: Sequence[Group], label: Label, classes: int, penalty: float) -> nn.Linear:
    """A linear layer from features f32[N,C] to `classes` logits (1: the log odds of label 1).

    `label` is the class of a group, None where it does not take part; every class weighs the same, a group within it
    by its weight. What is minimised is the mean cross-entropy plus `penalty` times the squared weights, all classes'
    together, of standardised features.
    """
    labelled = [(group, cls) for group in groups if (cls := label(group)) is not None]
    x = torch.cat([group.features for group, _ in labelled]).double().numpy()
    y = np.concatenate([np.full(len(group.features), cls) for group, cls in labelled])
    weights = np.concatenate([np.full(len(g.features), g.weight / len(g.features)) for g, _ in labelled])
    for cls in range(max(classes, 2)):
        weights[y == cls] /= weights[y == cls].sum() * max(classes, 2)
    mean = weights @ x
    deviation = np.sqrt(weights @ (x - mean) ** 2) + _FLOOR
    # scikit-learn weighs the losses by C and half the squares by 1, and of two classes it fits the difference.
    strength = 1 / penalty if classes == 2 else 1 / (2 * penalty)
    fitted = LogisticRegression(C=strength, **_SOLVER).fit((x - mean) / deviation, y, weights)
    weight, bias = fitted.coef_ / deviation, fitted.intercept_ - (fitted.coef_ / deviation) @ mean
    if classes == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    reading = nn.Linear(x.shape[1], classes)
    with torch.no_grad():
        reading.weight.copy_(torch.from_numpy(weight))
        reading.bias.copy_(torch.from_numpy(bias))
    return reading
