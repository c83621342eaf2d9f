"""Scores within a source, held to cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from app.text.findings import IMAGE_LABELS
from model_training.data.study import Study
from model_training.evaluation.finding_scores import Calibration, HeadOutput
from model_training.evaluation.source_scores import (
    best_constant,
    head_row,
    score_abstaining,
    score_sources,
    score_texts,
    signs,
)
from tests.model_training.reports import generated, report

ALL = dict.fromkeys(IMAGE_LABELS, False)


def study(name: str, source: str = "a", *, normal: bool = False, **labels: bool | None) -> Study:
    """An image labelled for every finding but those given as None."""
    return Study(name, (), labels=tuple({"normal": normal, **ALL, **labels}.items()), source=source)


def test_text_is_scored_on_the_findings_that_are_labelled() -> None:
    """One found, one missed, one said of an image where it is not labelled: that takes no part."""
    studies = [study("1", effusion=True), study("2", cardiomegaly=True), study("3", effusion=None)]
    texts = ["Pleural effusion.", "The lungs are clear.", "Pleural effusion."]
    rows = score_texts(studies, {"model": texts}, studies)
    assert rows["model"]["micro-F1"]["value"] == pytest.approx(2 / 3)
    assert rows["model"]["distinct"] == pytest.approx(2 / 3)


def test_a_finding_said_of_an_image_called_normal_is_a_false_one() -> None:
    """Whether or not it has a label of its own."""
    studies = [study("1", effusion=True), Study("2", (), labels=(("normal", True),), source="a")]
    rows = score_texts(studies, {"model": ["Pleural effusion.", "Pleural effusion."]}, studies)
    assert rows["model"]["micro-F1"]["value"] == pytest.approx(2 / 3)


def test_the_lead_over_shuffled_images_is_what_seeing_earns() -> None:
    """Two studies told apart without error, exchanged when shuffled."""
    studies = [study("1", effusion=True), study("2", cardiomegaly=True)]
    rows = score_texts(studies, {"model": ["Pleural effusion.", "Cardiomegaly."]}, studies)
    assert rows["model"]["micro-F1"] == {"value": 1, "low": 1, "high": 1}
    assert rows["shuffled images"]["micro-F1"]["value"] == 0
    assert rows["shuffled images"]["lead"] == {"value": 1, "low": 1, "high": 1}


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
    assert signs(texts) == {"distinct": 0.75, "marks": 0.25, "prior": 0.25, "beyond labels": 0.25}


def test_areas_are_over_common_findings_alone() -> None:
    """The first has 15 positive studies and is ranked without error, the second has one and is not."""
    targets = np.zeros((40, 2))
    targets[:15, 0] = targets[0, 1] = 1
    logits = np.stack([targets[:, 0] * 4 - 2, -targets[:, 1]], axis=1)
    row = head_row(HeadOutput(("a", "b"), logits, targets), Calibration(np.ones(2), np.full(2, 0.5)))
    assert row["common findings"] == 1
    assert row["AUROC"] == row["AUROC low"] == row["AUROC high"] == 1
    assert row["mean AUROC"] == 0.5


def test_withholding_unsure_texts_gains_what_they_lost() -> None:
    """Of five texts the least sure is wrong."""
    studies = [study(str(i), effusion=True) for i in range(5)]
    texts = ["Pleural effusion."] * 4 + ["Cardiomegaly."]
    rows = score_abstaining(studies, texts, np.array([-1.0, -2.0, -3.0, -4.0, -5.0]), {"below": -2.5})
    assert rows["at the shipped bar"]["answered"] == pytest.approx(0.4)
    assert rows["the surest 80%"]["answered"] == pytest.approx(0.8)
    assert rows["the surest 80%"]["micro-F1"]["value"] == 1
    assert rows["the surest 80%"]["gain"]["value"] == pytest.approx(1 - 8 / 10)


def test_each_source_is_scored_on_its_own() -> None:
    """A model that tells the sources apart and nothing else scores as a constant in each."""
    ours = [study("1", "a", effusion=True), study("2", "a", effusion=True), study("3", "b"), study("4", "b")]
    made = [generated(one, report("Pleural effusion." if one.source == "a" else "Normal.")) for one in ours]
    output = HeadOutput(("effusion",), np.array([[2.0], [2.0], [-2.0], [-2.0]]), np.array([[1.0], [1.0], [0.0], [0.0]]))
    sources = score_sources({"model": made}, ours, output, Calibration(np.ones(1), np.full(1, 0.5)), None)
    assert list(sources) == ["a", "b"]
    assert sources["a"]["text"]["best constant"]["lead"]["value"] == 0
    assert sources["b"]["text"] == {}
    assert np.isnan(sources["a"]["head"]["mean AUROC"])
