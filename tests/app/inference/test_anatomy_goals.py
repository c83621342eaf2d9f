"""What the shipped checkpoint's anatomy head is worth: the cardiothoracic ratio of real films, and silence where a film
does not show an upright chest seen whole.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from app.images.decode import decode_image
from app.inference.anatomy import Anatomy, Cells
from app.inference.checkpoint import Checkpoint, frozen_encode, load_checkpoint
from app.inference.chest import STRUCTURES
from app.inference.encoder_output import EncoderOutput
from app.inference.preprocessing import to_unit_range
from tests.conftest import ROOT


class Measuring:
    """The anatomy head of a checkpoint: what it says of images f32[H,W]."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._preprocess = checkpoint.module.preprocess
        self._encode = frozen_encode(checkpoint.module)
        self._cells = Cells.of(checkpoint.module, checkpoint.manifest.image_size)

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Anatomy:
        views = self._preprocess(image)[None].contiguous(memory_format=torch.channels_last)
        return Anatomy(EncoderOutput(*self._encode(views)).anatomy[0], self._cells)


@pytest.fixture(scope="module")
def measuring() -> Measuring:
    """Of the first checkpoint in weights/ that has such a head."""
    for path in sorted((ROOT / "weights").glob("*.pt")):
        checkpoint = load_checkpoint(path)
        size = checkpoint.manifest.image_size
        if EncoderOutput(*checkpoint.module.encode(torch.zeros(1, 1, size, size))).anatomy.shape[1] == len(STRUCTURES):
            return Measuring(checkpoint)
    pytest.skip("no checkpoint in weights/ has an anatomy head")


@pytest.fixture(scope="module")
def films(data_dir: Path) -> list[tuple[Tensor, float]]:
    """The films with masks of the test split, each with the ratio of the widths of its masks."""
    root = data_dir / "anatomy"
    with (root / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    return [
        (to_unit_range(decode_image((root / row["file"]).read_bytes()).pixels), float(row["ctr_from_masks"]))
        for row in rows
    ]


def test_cardiothoracic_ratio(measuring: Measuring, films: list[tuple[Tensor, float]]) -> None:
    """The ratio is off by little on average, and hardly any upright film goes without. The goals are .02 and 95%."""
    pairs = [(measuring(image).cardiothoracic_ratio(), truth) for image, truth in films]
    errors = [ratio - truth for ratio, truth in pairs if ratio is not None]
    assert np.abs(errors).mean() <= 0.025
    assert len(errors) >= 0.9 * len(films)


def _without_the_side(image: Tensor) -> Tensor:
    return image[:, : round(0.72 * image.shape[1])]


def _without_the_top(image: Tensor) -> Tensor:
    return image[round(0.35 * image.shape[0]) :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda image: torch.rot90(image, 1),
        lambda image: torch.rot90(image, 2),
        lambda image: torch.rot90(image, 3),
        lambda image: 1 - image,
        _without_the_side,
        _without_the_top,
    ],
    ids=["turned 90", "turned 180", "turned 270", "inverted", "a lung cut", "without the apices"],
)
def test_silence(measuring: Measuring, films: list[tuple[Tensor, float]], spoil: Callable[[Tensor], Tensor]) -> None:
    """Of films that are turned, inverted or cropped nothing is measured and nothing located."""
    assert np.mean([measuring(spoil(image)).chest is None for image, _ in films]) >= 0.95
