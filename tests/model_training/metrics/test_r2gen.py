"""The text protocol that published Indiana results share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_training.data import read_collection
from model_training.metrics import r2gen


@pytest.mark.parametrize(
    ("report", "cleaned"),
    [
        ("The lungs are clear. No effusion.", "the lungs are clear . no effusion ."),
        ("1. Cardiomegaly. 2. No (acute) disease..", "cardiomegaly . no acute disease ."),
        ("Well-expanded lungs; and/or 1.2 cm nodule.", "well-expanded lungs andor 12 cm nodule ."),
        ("", "."),
    ],
)
def test_cleaning_follows_the_protocol(report: str, cleaned: str) -> None:
    """Lower case, enumeration and punctuation gone, hyphens kept, sentences joined by a lone period."""
    assert r2gen.clean(report) == cleaned


@given(st.text(alphabet="aX. 123,-\n/", max_size=60))
def test_clean_text_stays_as_it_is(report: str) -> None:
    """Cleaning twice is cleaning once, save for enumeration that only cleaning lays bare."""
    once = r2gen.clean(report)
    if not any(character.isdigit() for character in once):
        assert r2gen.clean(once) == once


def test_references_hold_only_known_words_and_are_cut() -> None:
    """Words seen fewer than three times read <unk>, and 60 ids leave room for 59 words after BOS."""
    vocabulary = r2gen.Vocabulary(["heart normal. rare"] * 2 + ["heart normal."])
    assert vocabulary.reference("Heart rare normal.") == "heart <unk> normal ."
    assert vocabulary.reference("heart " * 100).split() == ["heart"] * 59


def test_the_official_training_split_has_759_words(data_dir: Path) -> None:
    """As published results count them."""
    train = read_collection(data_dir / "iu_xray", "r2gen_json").split("train")
    assert len(r2gen.Vocabulary(study.findings for study in train)) == 759
