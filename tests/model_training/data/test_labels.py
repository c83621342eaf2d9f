"""What a study is labelled with, by whatever its source says of it."""

from __future__ import annotations

import math

from model_training.data import Study
from model_training.data.labels import labels_of


def test_a_study_of_which_nothing_is_said_has_no_labels() -> None:
    """No codes and no text are no word that nothing is there."""
    names = ["cardiomegaly", "pneumothorax"]
    assert all(map(math.isnan, labels_of(Study("1", ()), names)))
    assert labels_of(Study("1", (), impression="Cardiomegaly."), names) == [1.0, 0.0]
    assert labels_of(Study("1", (), mesh=("normal",)), names) == [0.0, 0.0]
    given = labels_of(Study("1", (), labels=(("cardiomegaly", True), ("pneumothorax", None))), names)
    assert given[0] == 1.0
    assert math.isnan(given[1])
