"""Linear readings of features: logistic regression with an L2 penalty, weighted by group, and the thresholds for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_training.ood.examples import Group

_FLOOR = 0.02  # deviation below which a feature says nothing: added before dividing by it
Label = Callable[[Group], int | None]


def fit_reading(groups: Sequence[Group], label: Label, classes: int, penalty: float) -> nn.Linear:
    """A linear layer from features f32[N,C] to `classes` logits (1: the log odds of label 1).

    `label` is the class of a group, None where it does not take part; every class weighs the same, a group within it
    by its weight. `penalty` is that on the squared weights of standardised features.
    """
    labelled = [(group, cls) for group in groups if (cls := label(group)) is not None]
    x = torch.cat([group.features for group, _ in labelled])
    y = torch.cat([torch.full((len(group.features),), cls) for group, cls in labelled])
    weights = torch.cat([torch.full((len(g.features),), g.weight / len(g.features)) for g, _ in labelled])
    for cls in range(max(classes, 2)):
        weights[y == cls] /= weights[y == cls].sum() * max(classes, 2)
    mean = weights @ x
    deviation = (weights @ (x - mean) ** 2).sqrt() + _FLOOR
    standardised = (x - mean) / deviation
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=200, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        logits = standardised @ weight.T + bias
        if classes == 1:
            losses = F.binary_cross_entropy_with_logits(logits[:, 0], y.float(), reduction="none")
        else:
            losses = F.cross_entropy(logits, y, reduction="none")
        total = weights @ losses + penalty * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]  # torch's
        return total

    search.step(loss)  # type: ignore[no-untyped-call]  # torch's
    reading = nn.Linear(x.shape[1], classes)
    with torch.no_grad():
        reading.weight.copy_(weight / deviation)
        reading.bias.copy_(bias - (weight / deviation) @ mean)
    return reading


def auroc(positive: Tensor, negative: Tensor) -> float:
    """The chance that a positive score is above a negative one."""
    ranks = torch.cat([positive, negative]).argsort().argsort().double() + 1
    below = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(below / (len(positive) * len(negative)))
