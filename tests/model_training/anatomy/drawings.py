"""Drawn films with masks of lungs and heart."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_training.anatomy.films import MaskedFilm
from tests.app.chests import ellipse

Pixels = npt.NDArray[Any]


def drawing(seed: int, size: int = 128) -> tuple[Pixels, Pixels]:
    """A grey body with two dark lungs, a bright heart and some grain, u8[size,size]; and its mask of half that side."""
    rng = np.random.default_rng(seed)
    x, heart = rng.uniform(-2, 2), rng.uniform(7, 12)
    shapes = ((20 + x, 28, 9, 18), (44 + x, 28, 9, 18), (34 + x, 36, heart, 9))
    picture, mask = np.full((size, size), 120.0), np.zeros((size // 2, size // 2), np.uint8)
    for number, (shape, tone) in enumerate(zip(shapes, (40, 40, 210), strict=True), 1):
        picture[ellipse(*shape, size).numpy()] = tone
        mask[ellipse(*shape, size // 2).numpy()] = number
    return np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8), mask


def drawn(count: int, first: int = 0) -> list[MaskedFilm]:
    """Drawings, each of a patient of its own."""
    return [MaskedFilm(f"{i}", f"p{i}", *drawing(i)) for i in range(first, first + count)]


def write_folder(root: Path) -> Path:
    """Ten drawings of eight patients, one of them of the test split."""
    root.mkdir()
    rows = []
    for i in range(10):
        for name, pixels in zip((f"{i}.png", f"{i}-mask.png"), drawing(i), strict=True):
            Image.fromarray(pixels).save(root / name)
        rows.append([f"{i}.png", f"{i}-mask.png", f"p{min(i, 7)}", "test" if i == 0 else "train", "PA"])
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "mask", "patient", "split", "view"], *rows])
    return root
