"""Reading films with masks, and being told by name what is wrong with them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_training.anatomy.films import list_films, read_films
from model_training.data.files import UnreadableFileError
from model_training.data.images import UnreadableImageError
from tests.model_training.anatomy.drawings import drawing, write_folder

LABELS = "labels.csv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "masks")


def test_read(folder: Path) -> None:
    """Films come as they are in the files, each with its mask, patient and split."""
    listed = list_films(folder)
    assert [film.split for film in listed] == ["test"] + ["train"] * 9
    for i, film in enumerate(read_films(listed)):
        pixels, mask = drawing(i)
        np.testing.assert_array_equal(film.pixels, pixels)
        np.testing.assert_array_equal(film.mask, mask)
        assert film.patient == f"p{min(i, 7)}"


def test_borders(folder: Path) -> None:
    """Where a film's borders are cropped, its mask is cropped with it."""
    pixels, mask = drawing(3)
    Image.fromarray(np.pad(pixels, 64)).save(folder / "3.png")
    Image.fromarray(np.pad(mask, 32)).save(folder / "3-mask.png")
    film = read_films(list_films(folder)[3:4])[0]
    np.testing.assert_array_equal(film.pixels, pixels)
    np.testing.assert_array_equal(film.mask, mask)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0.png,none.png,p0,train,PA", "missing-image: none.png"),
        ("none.png,0-mask.png,p0,train,PA", "missing-image: none.png"),
        ("0.png,,p0,train,PA", "missing-image: the mask of 0.png"),
        ("../0.png,0-mask.png,p0,train,PA", "missing-image: ../0.png"),
        ("0.png,0-mask.png,p1,test,PA", "patient-in-two-splits: p1"),
        ("0.png,0-mask.png,p0,holdout,PA", "unknown-split: 0.png"),
        ("0.png,0-mask.png,p0", "unreadable-row: labels.csv:12"),
    ],
)
def test_wrong_rows(folder: Path, row: str, said: str) -> None:
    """Whatever is wrong with a row is an error that names the table and the row or the file."""
    with (folder / LABELS).open("a") as file:
        file.write(f"{row}\n")
    with pytest.raises(UnreadableFileError, match=said) as raised:
        list_films(folder)
    assert str(folder / LABELS) in str(raised.value)


def test_wrong_tables(folder: Path) -> None:
    """A table without masks says so, and one that is not there is an OSError."""
    (folder / LABELS).write_text("file,split\n0.png,train\n")
    with pytest.raises(UnreadableFileError, match="has no column mask"):
        list_films(folder)
    (folder / LABELS).unlink()
    with pytest.raises(OSError, match=r"masks\.csv"):
        list_films(folder)


def test_a_table_of_masks_alone(folder: Path) -> None:
    """Beside a table of labels that knows no masks, a `masks.csv` names them."""
    listed = list_films(folder)
    (folder / LABELS).rename(folder / "masks.csv")
    (folder / LABELS).write_text("file,effusion\n0.png,1\n")
    assert list_films(folder) == listed


def test_lateral_films_are_left_out(folder: Path) -> None:
    """Lungs have no sides on a lateral film."""
    with (folder / LABELS).open("a") as file:
        file.write("0.png,0-mask.png,p9,train,lateral\n")
    assert len(list_films(folder)) == 10


def test_wrong_files(folder: Path) -> None:
    """A film that is none, a mask that is none and one of another shape are named."""
    (folder / "1.png").write_bytes(b"none")
    (folder / "2-mask.png").write_bytes(b"none")
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(folder / "3-mask.png")
    Image.fromarray(np.zeros((64, 40), np.uint8)).save(folder / "4-mask.png")
    with pytest.raises(UnreadableImageError) as raised:
        read_films(list_films(folder))
    reasons = str(raised.value).split("; ")
    for name, reason in zip(("1.png", "2-mask.png", "3-mask.png", "4-mask.png"), reasons, strict=True):
        assert str(folder / name) in reason


def test_real_films(data_dir: Path) -> None:
    """Of the collection of masks 361 films are for training and 75 for testing, of no patient in common; the masks fit
    their films and draw all structures."""
    listed = list_films(data_dir / "anatomy")
    assert Counter(film.split for film in listed) == {"train": 361, "test": 75}
    for film in read_films(listed[::80]):
        assert np.unique(film.mask).tolist() == [0, 1, 2, 3]
        right, left = ((film.mask == i).nonzero()[1].mean() for i in (1, 2))
        assert right < left
