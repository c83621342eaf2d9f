"""A split for a collection that has none, and a sample of one that is too large."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from model_training.__main__ import command, main
from model_training.data import Collection, Study, StudyImage, read_collection
from model_training.data.subsets import RANDOM_SPLIT, sample, with_random_split


def collection(count: int, a_patient: int = 2) -> Collection:
    """Studies with an image each, so many of one patient."""
    studies = (
        Study(str(i), (StudyImage(Path(f"{i}.png")),), findings="Clear.", patient=f"p{i // a_patient}")
        for i in range(count)
    )
    return Collection("films", "captions_csv", tuple(studies), notes=("views unknown", "no split"))


def test_nobody_is_in_two_splits() -> None:
    """The split is drawn by patient, in the shares that are said, and the collection tells where it is from."""
    divided = with_random_split(collection(200))
    assert Counter(study.split for study in divided.studies) == {"train": 140, "val": 20, "test": 40}
    assert len({(study.patient, study.split) for study in divided.studies}) == 100
    assert divided.split_from == RANDOM_SPLIT
    assert divided.notes == ("views unknown", f"split from {RANDOM_SPLIT}")


def test_the_split_is_always_the_same() -> None:
    """Whatever the order in which the studies come."""
    given = collection(60)
    turned = replace(given, studies=given.studies[::-1])
    splits = [{s.id: s.split for s in with_random_split(one).studies} for one in (given, turned)]
    assert splits[0] == splits[1]


def test_few_patients_are_enough() -> None:
    """Three of them are one for each split."""
    divided = with_random_split(collection(3, a_patient=1))
    assert sorted(str(study.split) for study in divided.studies) == ["test", "train", "val"]


def test_a_split_that_is_there_stays(phantoms: Path) -> None:
    """Nothing is drawn where the source has one."""
    given = read_collection(phantoms)
    assert with_random_split(given) is given


def test_a_sample_keeps_the_proportions() -> None:
    """Every split is in it; studies without an image are not, and a collection that is small enough stays as it is."""
    divided = with_random_split(collection(200))
    divided = replace(divided, studies=(*divided.studies, Study("bare", (), split="train")))
    some = sample(divided, 20)
    assert Counter(study.split for study in some.studies) == {"train": 14, "val": 2, "test": 4}
    assert all(study.images for study in some.studies)
    assert some.notes[-1] == "20 of 201 studies"
    assert sample(divided, 200) is divided
    assert {study.split for study in sample(divided, 1).studies} == {"train", "val", "test"}


def test_every_command_takes_them(phantoms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`describe` shows what the others would use; a sample of none is an error that says so."""
    assert main(["describe", "--data", str(phantoms), "--random-split", "--sample", "8"]) == 0
    assert "8 of 24 studies" in capsys.readouterr().out
    assert main(["describe", "--data", str(phantoms), "--sample", "0"]) == 2
    assert "--sample: 0 studies are none" in capsys.readouterr().err


def test_a_notebook_hears_what_is_wrong(phantoms: Path, tmp_path: Path) -> None:
    """`command` runs what `main` runs, of paths and numbers as well, and raises."""
    command("describe", "--data", phantoms, "--sample", 8)
    with pytest.raises(FileNotFoundError):
        command("describe", "--data", tmp_path / "nothing")
