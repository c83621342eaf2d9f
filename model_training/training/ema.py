"""The moving average of the weights, which evaluates better than the last step."""

from __future__ import annotations

import copy

import torch

from model_training.model.report_model import ReportModel


class MovingAverage:
    """Exponential moving average of a model's parameters (Polyak and Juditsky 1992; Tarvainen and Valpola 2017,
    arXiv:1703.01780)."""

    def __init__(self, model: ReportModel, decay: float) -> None:
        """Starts from the model as it is."""
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: ReportModel, step: int) -> None:
        """Takes in the parameters after a step (from 0) and copies the buffers. Early steps are forgotten sooner."""
        decay = min(self.decay, (step + 1) / (step + 10))
        # All at once: on a GPU single small operations cost their launches.
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1.0 - decay)
        torch._foreach_copy_(list(self.model.buffers()), list(model.buffers()))
