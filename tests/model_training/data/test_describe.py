from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model_training.data import read_collection
from model_training.data.describe import describe
from tests.model_training.data.readers.layouts import STUDIES, write_kaggle, write_table


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_description_counts_studies_views_and_texts_of_each_split(tmp_path: Path) -> None:
    write_kaggle(tmp_path, STUDIES)
    text = lines(describe(read_collection(tmp_path)))
    assert "train 1 1 2 1 1 0 1 1" in text
    assert "none 1 0 0 0 0 0 1 0" in text
    assert "all 3 2 4 2 2 0 3 2" in text


def test_description_counts_labels_by_codes_and_only_of_coded_studies(tmp_path: Path) -> None:
    write_kaggle(tmp_path, STUDIES)
    assert "cardiomegaly 1/1 0/1 0/0 1/2" in lines(describe(read_collection(tmp_path)))


def test_description_counts_labels_and_sources_of_labelled_images(tmp_path: Path) -> None:
    rows = [("1.png", "nih", "train", "1"), ("2.png", "nih", "train", ""), ("3.png", "rsna", "train", "0")]
    write_table(tmp_path / "labels.csv", ("file", "source", "split", "mass"), rows)
    text = lines(describe(read_collection(tmp_path)))
    assert "mass 1/2" in text
    assert "nih 2" in text


def test_description_names_problems(tmp_path: Path) -> None:
    write_table(tmp_path / "labels.csv", ("file", "mass"), [("1.png", "1")])
    assert "1 missing-image: 1.png" in describe(read_collection(tmp_path))


def test_description_of_the_real_collection_shows_what_the_text_policy_does(data_dir: Path) -> None:
    text = describe(read_collection(data_dir / "iu_xray"))
    assert any(line.startswith("test findings 590 35.9% ") for line in lines(text))


@pytest.mark.parametrize(("folder", "status"), [("", 0), ("nowhere", 2)])
def test_command_tells_by_its_status_whether_it_could_read(tmp_path: Path, folder: str, status: int) -> None:
    write_kaggle(tmp_path, STUDIES)
    command = [sys.executable, "-m", "model_training", "describe", "--data", str(tmp_path / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert done.returncode == status
    assert ("does not exist" in done.stderr) == bool(status)
