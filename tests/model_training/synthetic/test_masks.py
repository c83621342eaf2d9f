"""Masks of a phantom's heart and lungs lie where its picture shows them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.inference.chest import STRUCTURES, outline
from model_training.anatomy.films import DRAWN, list_films, read_films
from model_training.synthetic.phantom import render, sample_finding, sample_phantom
from model_training.synthetic.phantom.boxes import boxes
from model_training.synthetic.phantom.collection import write_collection
from model_training.synthetic.phantom.render import chest_mask

RIGHT, LEFT, HEART = (STRUCTURES.index(name) for name in ("right lung", "left lung", "heart"))


@pytest.mark.parametrize("seed", range(4))
def test_lungs_are_dark_and_on_their_sides(seed: int) -> None:
    """In a healthy chest the lungs are darker than the heart; the patient's right one is on the image's left."""
    phantom = replace(sample_phantom(seed), findings=())
    picture, mask = render(phantom, "frontal", 128), chest_mask(phantom, "frontal", 128)
    assert set(np.unique(mask)) == {0, RIGHT, LEFT, HEART}
    assert max(np.median(picture[mask == lung]) for lung in (RIGHT, LEFT)) < np.median(picture[mask == HEART])
    right, heart, left = (np.nonzero(mask == part)[1].mean() for part in (RIGHT, HEART, LEFT))
    assert right < heart < left


@pytest.mark.parametrize("ratio", [0.42, 0.5, 0.6])
def test_the_heart_is_as_wide_as_drawn(ratio: float) -> None:
    """The cardiothoracic ratio of the mask is that of the body, a few hundredths up or down: patients are turned."""
    phantom = replace(sample_phantom(5), findings=(), heart_ratio=ratio)
    mask = torch.from_numpy(chest_mask(phantom, "frontal", 256))
    chest = outline(*((mask == i).float() for i in range(1, len(DRAWN))))
    assert chest is not None
    assert chest.cardiothoracic_ratio == pytest.approx(ratio, abs=0.03)


def test_fluid_and_gas_belong_to_the_lung() -> None:
    """What lies in the chest beside a lung is in its mask: boxes of findings are looked for there."""
    rng = np.random.default_rng(2)
    for name in ("pleural effusion", "pneumothorax", "nodule", "airspace opacity"):
        body = replace(sample_phantom(9), findings=(sample_finding(rng, name, "right"),))
        mask = chest_mask(body, "frontal", 96)
        (box,) = boxes(body, "frontal")
        assert mask[int(box.y * 96), int(box.x * 96)] == RIGHT, name


def test_a_collection_has_the_masks(tmp_path: Path) -> None:
    """Every frontal image has one, in the split of its study."""
    write_collection(tmp_path / "c", 10, seed=2, size=64, processes=1, progress=False, val=0.1, test=0.2)
    listed = list_films(tmp_path / "c")
    assert sorted(film.split or "" for film in listed) == ["test"] * 2 + ["train"] * 7 + ["val"]
    for film in read_films(listed):
        assert set(np.unique(film.mask)) == {0, RIGHT, LEFT, HEART}
