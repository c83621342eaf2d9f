"""A small collection of phantoms, made once, and the smallest configuration that trains on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.text.tokenizer import Tokenizer
from model_training.config import Config, config_from
from model_training.data import read_collection
from model_training.model.build import build_model
from model_training.synthetic.phantom import write_collection
from model_training.training.dataset import Examples, training_text
from model_training.training.distributed import Processes
from model_training.training.trainer import Trainer


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 phantom studies at 64 pixels, 18 for training and 6 for validation."""
    folder = tmp_path_factory.mktemp("phantoms") / "collection"
    write_collection(folder, 24, seed=3, size=64, processes=1, progress=False, val=0.25, test=0.0)
    return folder


@pytest.fixture(scope="session")
def small_config() -> Config:
    """A network of a few thousand weights, five steps an epoch, the state saved in mid-epoch."""
    return config_from(
        {
            "model": {"encoder": "resnet-tiny", "image_size": 64, "width": 32, "layers": 1, "heads": 2,
                      "max_new_tokens": 60},
            "data": {"findings": ["cardiomegaly", "pleural effusion"]},
            "training": {"epochs": 8, "batch_size": 4, "precision": "f32", "save_steps": 3},
            "augmentation": {"rotation": 5, "shift": 0.05, "scale": 0.1, "brightness": 0.1, "contrast": 0.1},
        }
    )  # fmt: skip


class Bench:
    """Builds trainers over the phantoms in this process."""

    def __init__(self, phantoms: Path, cache: Path) -> None:
        self.cache = cache
        self.collection = read_collection(phantoms)

    def trainer(self, config: Config, folder: Path) -> Trainer:
        """A trainer at its first step."""
        studies = [self.collection.split(split) for split in ("train", "val")]
        texts = [[training_text(study, config) for study in split] for split in studies]
        tokenizer = Tokenizer.build(texts[0], config.data.sections)
        torch.manual_seed(config.training.seed)
        model = build_model(config, len(tokenizer))
        folder.mkdir(exist_ok=True)
        train, val = (
            Examples(split, text, tokenizer, config, model, self.cache)
            for split, text in zip(studies, texts, strict=True)
        )
        return Trainer(config, model, tokenizer, train, val, folder, Processes())


@pytest.fixture(scope="session")
def bench(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Trainers over the phantoms, decoded once."""
    return Bench(phantoms, tmp_path_factory.mktemp("cache"))
