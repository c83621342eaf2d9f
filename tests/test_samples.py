"""The bundled films are what they are said to be."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[1] / "weights" / "samples"
FILMS = {"normal": "00018534_000", "effusion": "00012708_000", "cardiomegaly": "00011322_002"}


@pytest.mark.parametrize("label", FILMS)
def test_a_bundled_film_is_one_of_the_test_split_with_that_label_alone(label: str, data_dir: Path) -> None:
    """No checkpoint of ours has learnt from it; its credit stands beside it."""
    name = FILMS[label]
    folder = data_dir / "radiographs"
    assert (SAMPLES / f"{label}.jpg").read_bytes() == (folder / "nih" / f"{name}.jpg").read_bytes()
    with (folder / "labels.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["file"] == f"nih/{name}.jpg")
    labelled = {key for key, value in row.items() if value == "1" and key not in ("patient", "age")}
    assert (row["split"], labelled) == ("test", {label})
    text = (SAMPLES / "README.md").read_text()
    assert f"| `{label}.jpg` | {name} |" in text
    assert "NIH\nClinical Center" in text
