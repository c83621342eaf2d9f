"""The optimiser: which weights decay, which learn slower, how fast they learn at each step, and their average."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from model_training.config import TrainingConfig
from model_training.model.report_model import ReportModel


def build_optimiser(model: ReportModel, training: TrainingConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with a learning rate for the encoder and one for the rest.

    Weight decay is for matrices and kernels only; biases, norms and embeddings go without.
    """
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        encoder, decays = name.startswith("encoder."), parameter.ndim > 1 and "embedding" not in name
        group = groups.setdefault(
            (encoder, decays),
            {
                "params": [],
                "initial_lr": training.learning_rate * (training.encoder_rate_factor if encoder else 1.0),
                "weight_decay": training.weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    fused = all(parameter.is_cuda for parameter in model.parameters())
    return torch.optim.AdamW(groups.values(), lr=training.learning_rate, betas=(0.9, 0.98), fused=fused)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Sets the learning rate of every group to that share of its greatest."""
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor


def rate_factor(step: int, steps: int, warm_up: float) -> float:
    """Share of the greatest learning rate at a step: linear warm-up over that share of all steps, then a cosine to zero
    (arXiv:1608.03983)."""
    warm = max(1, round(warm_up * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of a model's parameters, which evaluates better than the last step (Polyak and
    Juditsky 1992; Tarvainen and Valpola 2017, arXiv:1703.01780), and of what its batch norms have seen: statistics of
    the last step do not fit the features of averaged weights.

    It starts from the model as it is and forgets early steps sooner. Counters are those of the last step.
    """

    def blend(averaged: PARAM_LIST, current: PARAM_LIST, _: Tensor | int) -> None:
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)
            return
        count = int(average.n_averaged)  # the one given lies on the GPU, and reading it would wait for the step
        torch._foreach_lerp_(averaged, current, 1.0 - min(decay, count / (count + 9)))

    average = AveragedModel(model, multi_avg_fn=blend, use_buffers=True)
    average.n_averaged.fill_(1)  # or the first step would replace what it starts from
    return average.eval().requires_grad_(False)
