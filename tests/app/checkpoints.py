"""The tiny checkpoint with parts of it changed or added, as archives of their own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from app.inference.checkpoint import load_checkpoint, save_checkpoint
from app.inference.ood import OUTPUTS
from app.text.tokenizer import Tokenizer
from model_training.config import Config
from model_training.export import export_model
from model_training.model.ood_head import OodHead
from model_training.model.report_model import ReportModel


def altered(checkpoint: Path, path: Path, change: Callable[[Any], None] | None = None, **manifest: Any) -> Path:
    """A copy of a checkpoint at `path`: its network as `change` leaves it, its manifest with these fields."""
    loaded = load_checkpoint(checkpoint)
    if change:
        with torch.no_grad():
            change(loaded.module)
    save_checkpoint(loaded.module, replace(loaded.manifest, **manifest), loaded.tokenizer, path)
    return path


def with_ood_head(model: ReportModel, tokenizer: Tokenizer, config: Config, path: Path, chest: float) -> Path:
    """The model with a head that gives every picture the logit `chest`, accepted from 0 on, and calls it upright, and
    inverted where it is not accepted."""
    model = copy.deepcopy(model)
    head = OodHead(model.view_head.in_features)
    with torch.no_grad():
        head.read.weight.zero_()
        head.read.bias.copy_(torch.tensor([chest, -chest, 0.0, 0.0, 0.0, 0.0]))
    fitted = {
        "head": head.state_dict(),
        "view_head": model.view_head.state_dict(),
        "laterals": True,
        "outputs": list(OUTPUTS),
        "thresholds": {"chest": 0.0, "inverted": 0.0, "turned": 1.0},
    }
    export_model(model, tokenizer, config, path, intake=fitted)
    return path
