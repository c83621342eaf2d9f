"""Zones that the shipped checkpoint says, against boxes that radiologists drew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from app.inference.checkpoint import load_checkpoint
from model_training.data import read_collection
from model_training.data.study import Study
from model_training.evaluation.place_scores import score_places
from tests.conftest import ROOT
from tests.model_training.reports import generated, report


def test_without_boxes_there_is_nothing_to_score(phantoms: Path, tiny_checkpoint: Path) -> None:
    """Not even a zero."""
    study = read_collection(phantoms).studies[0]
    bare = [replace(image, boxes=()) for image in study.images]
    assert score_places(load_checkpoint(tiny_checkpoint), [generated(study, report("x"), bare)]) is None


def test_zones_follow_the_boxes(data_dir: Path) -> None:
    """Where they lie rather than where they do not: upside down they are missed more often."""
    checkpoint = load_checkpoint(ROOT / "weights" / "xray-report-reference.pt")
    found = {"effusion", "atelectasis", "pneumothorax", "infiltration"}
    films = [
        study
        for study in read_collection(data_dir / "radiographs").split("test")
        if any(box.finding in found for box in study.images[0].boxes)
    ][:40]
    upright, upturned = (
        score_places(checkpoint, [generated(study, report("x"), study.images) for study in studies])
        for studies in (films, [turned(study) for study in films])
    )
    assert upright
    assert upturned
    assert upright.boxes == upturned.boxes > 30
    assert upright.zoned == upturned.zoned > 15
    assert upright.right_zone
    assert upturned.right_zone
    assert upright.right_zone.value >= 0.6
    assert upright.right_zone.value > upturned.right_zone.value + 0.2


def turned(study: Study) -> Study:
    """With the boxes of another study: these upside down."""
    (image,) = study.images
    boxes = tuple(replace(box, y=1 - box.y) for box in image.boxes)
    return replace(study, images=(replace(image, boxes=boxes),))
