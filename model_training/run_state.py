"""The state of a training run on disk, saved and loaded in one place."""

from __future__ import annotations

from pathlib import Path

import torch

from app.inference.tokenizer import Tokenizer
from model_training.config import Config, config_from
from model_training.model.build import build_model
from model_training.model.report_model import ReportModel

FILE = "training.pt"


def save_run(folder: Path, model: ReportModel, tokenizer: Tokenizer, config: Config) -> None:
    """Writes the state atomically."""
    state = {"config": config.as_dict(), "tokenizer": tokenizer.to_json().decode(), "model": model.state_dict()}
    partial = folder / f"{FILE}.partial"
    torch.save(state, partial)
    partial.replace(folder / FILE)


def load_run(folder: Path) -> tuple[ReportModel, Tokenizer, Config]:
    """The best state of a training run. Raises OSError when there is none."""
    state = torch.load(folder / FILE, map_location="cpu", weights_only=True)
    config = config_from(state["config"])
    tokenizer = Tokenizer.from_json(state["tokenizer"].encode())
    model = build_model(config, len(tokenizer))
    model.load_state_dict(state["model"])
    return model, tokenizer, config
