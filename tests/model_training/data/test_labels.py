"""What a study is labelled with, by whatever its source says of it."""

from __future__ import annotations

import math
from dataclasses import replace

from model_training.data import Study
from model_training.data.labels import abnormal_of, affirmed_findings, labels_of, mentions_of


def test_a_study_of_which_nothing_is_said_has_no_labels() -> None:
    """No codes and no text are no word that nothing is there."""
    names = ["cardiomegaly", "pneumothorax"]
    assert all(map(math.isnan, labels_of(Study("1", ()), names)))
    assert labels_of(Study("1", (), impression="Cardiomegaly."), names) == [1.0, 0.0]
    assert labels_of(Study("1", (), mesh=("normal",)), names) == [0.0, 0.0]
    given = labels_of(Study("1", (), labels=(("cardiomegaly", True), ("pneumothorax", None))), names)
    assert given[0] == 1.0
    assert math.isnan(given[1])


def test_codes_speak_before_text_and_both_are_heard_where_reports_are_paired() -> None:
    """Indexers missed the effusion, the text does not name the nodule."""
    study = Study("1", (), findings="Left pleural effusion. No pneumothorax.", mesh=("Nodule/lung",))
    assert mentions_of(study, study.findings).keys() == {"nodule"}
    assert mentions_of(replace(study, mesh=()), study.findings).keys() == {"pleural effusion", "pneumothorax"}
    assert affirmed_findings(study) == {"nodule", "pleural effusion"}


def test_a_study_is_abnormal_by_its_labels_its_codes_or_its_text() -> None:
    """Not called normal, or with any finding; unknown where nobody says."""
    assert abnormal_of(Study("1", (), labels=(("cardiomegaly", None), ("normal", False)))) == 1.0
    assert abnormal_of(Study("1", (), labels=(("cardiomegaly", None), ("normal", True)))) == 0.0
    assert abnormal_of(Study("1", (), labels=(("cardiomegaly", True),))) == 1.0
    assert math.isnan(abnormal_of(Study("1", (), labels=(("cardiomegaly", False), ("effusion", None)))))
    assert abnormal_of(Study("1", (), findings="No effusion.", mesh=("Nodule/lung",))) == 1.0
    assert abnormal_of(Study("1", (), findings="No effusion.", mesh=("normal",))) == 0.0
    assert abnormal_of(Study("1", (), findings="Left pleural effusion.")) == 1.0
    assert abnormal_of(Study("1", (), findings="No effusion.")) == 0.0
    assert math.isnan(abnormal_of(Study("1", ())))
