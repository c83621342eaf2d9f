"""Texts against labels, held to cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from app.inference.uncertainty import AbstainRule
from app.text.findings import IMAGE_LABELS
from model_training.data.study import Study
from model_training.evaluation.label_scores import best_constant, score_abstaining, score_texts, signs
from model_training.metrics.bootstrap import Estimate

ALL = dict.fromkeys(IMAGE_LABELS, False)


def study(name: str, source: str = "a", *, normal: bool = False, **labels: bool | None) -> Study:
    """An image labelled for every finding but those given as None."""
    return Study(name, (), labels=tuple({"normal": normal, **ALL, **labels}.items()), source=source)


def test_text_is_scored_on_the_findings_that_are_labelled() -> None:
    """One found, one missed, one said of an image where it is not labelled: that takes no part."""
    studies = [study("1", effusion=True), study("2", cardiomegaly=True), study("3", effusion=None)]
    texts = ["Pleural effusion.", "The lungs are clear.", "Pleural effusion."]
    rows = score_texts(studies, {"model": texts}, studies)
    assert rows["model"].micro_f1.value == pytest.approx(2 / 3)
    assert rows["model"].distinct == pytest.approx(2 / 3)


def test_a_finding_said_of_an_image_called_normal_is_a_false_one() -> None:
    """Whether or not it has a label of its own."""
    studies = [study("1", effusion=True), Study("2", (), labels=(("normal", True),), source="a")]
    rows = score_texts(studies, {"model": ["Pleural effusion.", "Pleural effusion."]}, studies)
    assert rows["model"].micro_f1.value == pytest.approx(2 / 3)


def test_the_lead_over_shuffled_images_is_what_seeing_earns() -> None:
    """Two studies told apart without error, exchanged when shuffled."""
    studies = [study("1", effusion=True), study("2", cardiomegaly=True)]
    rows = score_texts(studies, {"model": ["Pleural effusion.", "Cardiomegaly."]}, studies)
    assert rows["model"].micro_f1 == Estimate(1, 1, 1)
    assert rows["shuffled images"].micro_f1.value == 0
    assert rows["shuffled images"].lead == Estimate(1, 1, 1)


def test_the_best_constant_states_the_commonest_findings_as_far_as_that_pays() -> None:
    """Of three findings, in 3, 2 and 1 of 4 studies, two are worth stating: F1 10/13 against 6/10 and 2/3."""
    truth = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=np.bool_)
    assert best_constant(np.ones_like(truth), truth).tolist() == [True, True, False]


def test_nothing_is_scored_where_nothing_is_labelled() -> None:
    """As in a source that has images only."""
    assert score_texts([Study("1", (), source="a")], {"model": ["Cardiomegaly."]}, []) == {}


def test_signs_of_memorisation_are_shares_of_the_reports() -> None:
    """Marks, earlier examinations, and findings that no label supports."""
    texts = ["Pleural effusion.", "Pleural effusion.", "Unchanged xxxx effusion.", "Old rib fracture."]
    assert signs(texts) == {"distinct": 0.75, "marks": 0.25, "prior": 0.25, "beyond_labels": 0.25}


def test_withholding_unsure_texts_gains_what_they_lost() -> None:
    """Of five texts the least sure is wrong."""
    studies = [study(str(i), effusion=True) for i in range(5)]
    texts = ["Pleural effusion."] * 4 + ["Cardiomegaly."]
    confidences = np.array([-1.0, -2.0, -3.0, -4.0, -5.0])
    rows = score_abstaining(studies, texts, confidences, AbstainRule(balance=0.5, below=-2.5))
    assert rows["at the shipped bar"].answered == pytest.approx(0.4)
    assert rows["the surest 80%"].answered == pytest.approx(0.8)
    assert rows["the surest 80%"].micro_f1.value == 1
    assert rows["the surest 80%"].gain.value == pytest.approx(1 - 8 / 10)
