"""Parts of a collection: a split drawn for one that has none, and a sample of one that is too large to try out on.

What is drawn depends on the names of patients and studies alone: the same collection is always divided alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

from model_training.data.collection import Collection
from model_training.data.study import Split, Study

RANDOM_SPLIT = "a random draw by patient"
SHARES: tuple[tuple[Split, float], ...] = (("test", 0.2), ("val", 0.1))


def with_random_split(collection: Collection) -> Collection:
    """The collection with `SHARES` of its patients in test and val, the others in train; as it is where it has a split.

    A study of no known patient counts as a patient of its own. Each split has at least one patient, if there are three.
    """
    if collection.split_from:
        return collection
    patients = _drawn({_patient(study) for study in collection.studies})
    split: dict[str, Split] = {}
    for name, share in SHARES:
        for patient in patients[len(split) : len(split) + max(1, round(share * len(patients)))]:
            split[patient] = name
    studies = tuple(replace(study, split=split.get(_patient(study), "train")) for study in collection.studies)
    notes = (note for note in collection.notes if not note.startswith("no split"))
    return replace(collection, studies=studies, split_from=RANDOM_SPLIT, notes=(*notes, f"split from {RANDOM_SPLIT}"))


def sample(collection: Collection, count: int) -> Collection:
    """The collection with `count` of its studies that have images, shared out among its splits in proportion, at least
    one of each; as it is where it has no more."""
    known = [study for study in collection.studies if study.images]
    if len(known) <= count:
        return collection
    kept: set[str] = set()
    for name in {study.split for study in known}:
        ids = [study.id for study in known if study.split == name]
        kept.update(_drawn(ids)[: max(1, round(count * len(ids) / len(known)))])
    studies = tuple(study for study in collection.studies if study.id in kept)
    return replace(
        collection,
        studies=studies,
        notes=(*collection.notes, f"{len(studies):,} of {len(collection.studies):,} studies"),
    )


def _patient(study: Study) -> str:
    return study.patient or study.id


def _drawn(names: Iterable[str]) -> list[str]:
    """In an order at random, but always the same."""
    return sorted(names, key=lambda name: sha256(name.encode()).digest())
