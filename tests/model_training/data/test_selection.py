"""Which studies are learnt from."""

from __future__ import annotations

from pathlib import Path

from model_training.data import Study, StudyImage
from model_training.data.selection import DataConfig, select_studies


def test_studies_without_images_are_left_out_and_counted() -> None:
    """A study held back is counted as that, with or without an image."""
    image = (StudyImage(Path("1.png")),)
    studies = [Study("1", image), Study("2", ()), Study("3", image), Study("4", ())]
    kept, left_out = select_studies(studies, DataConfig(exclude=("3", "4")))
    assert [study.id for study in kept] == ["1"]
    assert left_out == {"held back by data.exclude": 2, "without an image": 1}


def test_one_source_of_several_can_be_learnt_from() -> None:
    """The others are counted as left out."""
    image = (StudyImage(Path("1.png")),)
    studies = [Study("1", image, source="a"), Study("2", image, source="b"), Study("3", image)]
    kept, left_out = select_studies(studies, DataConfig(sources=("a",)))
    assert [study.id for study in kept] == ["1"]
    assert left_out["of another source"] == 2
