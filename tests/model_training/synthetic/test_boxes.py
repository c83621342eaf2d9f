"""Where a phantom's findings are said to lie is where they were drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_training.data import read_collection
from model_training.data.readers.boxes import BOXES
from model_training.synthetic.phantom import generate_study, render, sample_finding, sample_phantom
from model_training.synthetic.phantom.boxes import LOCATED, boxes
from model_training.synthetic.phantom.render import footprint

SIZE = 96


@pytest.mark.parametrize("name", LOCATED)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_finding_lies_in_its_box(name: str, side: str) -> None:
    """Nearly all it adds to the frontal picture is in it, on the side of the image where the patient's side is."""
    body = replace(sample_phantom(5), findings=())
    finding = sample_finding(np.random.default_rng(3), name, "left" if side == "left" else "right")
    phantom = replace(body, findings=(finding,))
    (box,) = boxes(phantom, "frontal")
    assert box.finding == name
    assert (box.x > 0.5) == (side == "left")
    added = footprint(phantom, "frontal", finding, SIZE)
    top, bottom = round((box.y - box.height / 2) * SIZE), round((box.y + box.height / 2) * SIZE)
    left, right = round((box.x - box.width / 2) * SIZE), round((box.x + box.width / 2) * SIZE)
    assert added[top:bottom, left:right].sum() > 0.8 * added.sum()


def test_what_is_no_place_has_no_box() -> None:
    """A large heart, a high diaphragm and a device are not of one place in the lungs; a normal chest has nothing."""
    body = replace(sample_phantom(5), findings=())
    others = ("cardiomegaly", "elevated diaphragm", "device")
    rng = np.random.default_rng(3)
    assert list(boxes(body, "frontal")) == []
    assert list(boxes(replace(body, findings=tuple(sample_finding(rng, n, "left") for n in others)), "frontal")) == []


def test_footprint_is_what_the_picture_shows() -> None:
    """Where a nodule adds nothing, the picture is nearly the one without it; where it adds most, it is brighter."""
    body = replace(sample_phantom(5), findings=())
    finding = sample_finding(np.random.default_rng(3), "nodule", "left")
    phantom = replace(body, findings=(finding,))
    added = footprint(phantom, "frontal", finding, SIZE)
    difference = render(phantom, "frontal", SIZE) - render(body, "frontal", SIZE)
    assert difference[added > 0.5 * added.max()].mean() > 0.05
    assert np.abs(difference[added < 0.01 * added.max()]).mean() < 0.01


def test_a_collection_has_the_boxes(phantoms: Path) -> None:
    """Every finding that has a place is boxed in every view of its study, as `generate_study` draws it."""
    assert (phantoms / BOXES).is_file()
    found = 0
    for study in read_collection(phantoms).studies:
        drawn = generate_study(3, int(study.id) - 1, 32).phantom.findings
        for image in study.images:
            assert sorted(box.finding for box in image.boxes) == sorted(f.name for f in drawn if f.name in LOCATED)
            found += len(image.boxes)
    assert found > 5
