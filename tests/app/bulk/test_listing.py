"""Which files are one study, in folders and tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.bulk.listing import Listing, list_studies
from app.bulk.study import Grouping, StopError
from tests.app.dicom_phantoms import describe, dicom, uid, write
from tests.app.pictures import phantom, png

PICTURE = np.asarray(phantom())
PNG = png(phantom())


def put(path: Path, content: bytes = PNG) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def listed(source: Path, grouping: Grouping = "file", max_images: int = 4) -> Listing:
    return list_studies(source, grouping, max_images, lambda files: None)


def studies(source: Path, grouping: Grouping = "file", max_images: int = 4) -> dict[str, tuple[str, ...]]:
    return {one.key: one.files for one in listed(source, grouping, max_images).studies}


def test_a_file_is_a_study(tmp_path: Path) -> None:
    """Images in folders below, too; what is no image is counted, and what only claims to be one is a study."""
    for name in ("b.png", "a.jpg", "deep/er/c.PNG", "without suffix"):
        put(tmp_path / name)
    put(tmp_path / "damaged.jpeg", b"")
    put(tmp_path / "notes.txt", b"no image")
    found = listed(tmp_path)
    names = ["a.jpg", "b.png", "damaged.jpeg", "without suffix", "deep/er/c.PNG"]
    assert [(one.key, one.files, one.problem) for one in found.studies] == [(name, (name,), None) for name in names]
    assert found.passed_over == 1


def test_a_folder_is_a_study(tmp_path: Path) -> None:
    """Where it is asked for; one with more images than a study has is a problem, not a guess."""
    for name in ("one/a.png", "one/b.png", "two/a.png", "two/deeper/a.png"):
        put(tmp_path / name)
    assert studies(tmp_path, "folder") == {
        "one": ("one/a.png", "one/b.png"),
        "two": ("two/a.png",),
        "two/deeper": ("two/deeper/a.png",),
    }
    one, *others = listed(tmp_path, "folder", max_images=1).studies
    assert one.problem
    assert (one.problem.type, one.problem.detail) == ("payload-too-large", "A study has at most 1 images.")
    assert not any(other.problem for other in others)


@pytest.mark.parametrize("grouping", ["file", "folder"])
def test_dicom_goes_by_its_study(tmp_path: Path, grouping: Grouping) -> None:
    """Wherever the files lie and whatever they are called; frontal views first, and no more than a study may have."""
    put(tmp_path / "x" / "1", dicom(PICTURE, number=1, instance=1, ViewPosition="LL"))
    put(tmp_path / "y" / "2.dcm", dicom(PICTURE, number=1, instance=2, ViewPosition="PA"))
    put(tmp_path / "y" / "3.dcm", dicom(PICTURE, number=2, instance=1))
    found = studies(tmp_path, grouping)
    assert found == {uid("study", 1): ("y/2.dcm", "x/1"), uid("study", 2): ("y/3.dcm",)}
    assert studies(tmp_path, grouping, max_images=1)[uid("study", 1)] == ("y/2.dcm",)


def test_dicom_without_radiographs(tmp_path: Path) -> None:
    """A study of reports alone has its line, and a file without identifiers is a study by itself."""
    report = describe(3, 1, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33")
    put(tmp_path / "sr.dcm", write(report))
    put(tmp_path / "odd.dcm", dicom(PICTURE, number=4, StudyInstanceUID=None))
    odd, sr = listed(tmp_path).studies
    assert (odd.key, odd.problem) == ("odd.dcm", None)
    assert sr.key == uid("study", 3)
    assert sr.problem
    assert sr.problem.type == "no-chest-image"


def test_table(tmp_path: Path) -> None:
    """Rows with one name are one study, in any order; a row without is one by itself; paths begin at the table."""
    table = tmp_path / "studies.csv"
    table.write_text("\ufeffstudy,image,note\nS1,a.png,x\n,b.png,\nS1,deep/c.png,y\n")
    found = listed(table)
    assert {one.key: one.files for one in found.studies} == {"S1": ("a.png", "deep/c.png"), "b.png": ("b.png",)}
    assert found.root == tmp_path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"path\nx.png\n", "no column image"),
        (b"image\nx.png\n  \n", "line 3 names no image"),
        (b"image\n\xff\xfe\n", "neither a folder nor a CSV file"),
        (b"", "no column image"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, said: str) -> None:
    """It is said which file, and what it lacks."""
    table = tmp_path / "studies.csv"
    table.write_bytes(content)
    with pytest.raises(StopError, match=f"studies.csv.*{said}"):
        listed(table)
    with pytest.raises(StopError, match=r"nowhere: No such file"):
        listed(tmp_path / "nowhere")


def test_odd_names(tmp_path: Path) -> None:
    """A key stands on one line whatever a file is called."""
    put(tmp_path / "a\nb  c.png")
    assert studies(tmp_path) == {"a\\x0ab  c.png": ("a\nb  c.png",)}
