"""What is wrong with a collection is counted and named, or refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from model_training.data import LAYOUTS, Collection, read_collection
from model_training.data.collection import PROBLEMS, ProblemKind
from model_training.data.readers.openi_xml import MAX_BYTES, parse_xml
from tests.model_training.data.readers.layouts import (
    CARDIOMEGALY,
    NORMAL,
    STUDIES,
    touch,
    write_captions,
    write_kaggle,
    write_openi,
    write_table,
)


@pytest.fixture
def troubled(tmp_path: Path) -> Collection:
    """A collection with one of nearly everything that can be wrong."""
    write_kaggle(tmp_path, STUDIES)
    (tmp_path / "images" / NORMAL.images[0].path.name).unlink()
    with (tmp_path / "indiana_reports.csv").open("ab") as file:
        file.write(b"7,normal,,,,,Again.,Again.\r\n")
        file.write(b"8,normal,too,few\r\n\r\n")
        file.write(b"9,normal,,,,,None.,#NAME?\r\n")
        file.write(b"10,normal,,,,,Caf\xe9.,\r\n")
    with (tmp_path / "indiana_projections.csv").open("a") as file:
        file.write("10,10_IM-1.png,oblique\n99,99_IM-1.png,Frontal\n10,../secret.png,Frontal\n")
        file.write(f"10,{CARDIOMEGALY.images[0].path.name},Frontal\n")
    with (tmp_path / "split.csv").open("a") as file:
        file.write("9,holdout\n7,test\n5000,train\n")
    touch(tmp_path / "images" / "10_IM-1.png")
    touch(tmp_path.parent / "secret.png")
    return read_collection(tmp_path)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("duplicate-id", ["7"]),
        ("unreadable-row", ["indiana_reports.csv:6"]),
        ("empty-report", ["9"]),
        ("undecodable-text", ["indiana_reports.csv:9"]),
        ("missing-image", ["31_IM-1450-1001.dcm.png", "../secret.png"]),
        ("no-image", ["112", "9"]),
        ("unknown-view", ["10_IM-1.png"]),
        ("image-without-report", ["99_IM-1.png"]),
        ("unknown-split", ["9"]),
        ("conflicting-split", ["7"]),
        ("split-of-unknown-study", ["5000"]),
    ],
)
def test_problem_is_counted_and_named(troubled: Collection, kind: ProblemKind, names: list[str]) -> None:
    assert list(troubled.problem(kind)) == names


def test_image_of_two_studies_is_named(troubled: Collection) -> None:
    assert [Path(name).name for name in troubled.problem("image-in-two-studies")] == ["7_IM-2263-1001.dcm.png"]


def test_study_with_a_missing_image_keeps_the_others(troubled: Collection) -> None:
    study = next(study for study in troubled.studies if study.id == "31")
    assert [image.path.name for image in study.images] == ["31_IM-1450-2001.dcm.png"]


def test_first_of_two_studies_with_one_id_is_kept(troubled: Collection) -> None:
    assert [study.findings for study in troubled.studies if study.id == "7"] == [CARDIOMEGALY.findings]


def test_description_of_a_problem_stops_after_a_few_names(troubled: Collection) -> None:
    (problem,) = (problem for problem in troubled.problems if problem.kind == "no-image")
    assert problem.describe(1) == "2 no-image: 112, and 1 more (study without any image)"


def test_patient_in_two_splits_is_named(tmp_path: Path) -> None:
    rows = [("1.png", "p1", "train"), ("2.png", "p1", "test"), ("3.png", "p2", "train")]
    write_table(tmp_path / "labels.csv", ("file", "patient", "split"), rows)
    assert read_collection(tmp_path).problem("patient-in-two-splits") == ("p1",)


def test_unknown_label_is_named_and_read_as_not_labelled(tmp_path: Path) -> None:
    write_table(tmp_path / "labels.csv", ("file", "mass"), [("1.png", "maybe")])
    collection = read_collection(tmp_path)
    assert collection.studies[0].labels == (("mass", None),)
    assert collection.problem("unknown-label") == ("1.png: mass 'maybe'",)


@pytest.mark.parametrize("number", ["", " ", "left", "nan", "inf"])
def test_a_box_without_a_number_is_named_and_left_out(number: str, tmp_path: Path) -> None:
    """The image keeps its other boxes."""
    touch(tmp_path / "1.png")
    write_table(tmp_path / "labels.csv", ("file", "mass"), [("1.png", "1")])
    header = ("file", "finding", "x_centre", "y_centre", "width", "height")
    rows = [("1.png", "mass", number, "0.5", "0.1", "0.1"), ("1.png", "nodule", "0.2", "0.5", "0.1", "0.1")]
    write_table(tmp_path / "boxes.csv", header, rows)
    collection = read_collection(tmp_path)
    assert [box.finding for box in collection.studies[0].images[0].boxes] == ["nodule"]
    assert collection.problem("unreadable-box") == ("1.png: mass",)


def test_every_kind_of_problem_is_described() -> None:
    """What a reader may note is what people can be told."""
    assert tuple(PROBLEMS) == get_args(ProblemKind)


def test_different_captions_of_one_study_are_named(tmp_path: Path) -> None:
    rows = [("1.png", "Clear.", "s"), ("2.png", "Effusion.", "s")]
    write_table(tmp_path / "captions.csv", ("image", "caption", "study"), rows)
    assert read_collection(tmp_path).problem("conflicting-captions") == ("s",)


@pytest.mark.parametrize(
    "entry", [{"id": "1"}, {"report": "Clear."}, "text", {"id": "1", "report": "", "image_path": 3}]
)
def test_unreadable_annotation_entry_is_named(entry: object, tmp_path: Path) -> None:
    (tmp_path / "annotation.json").write_text(json.dumps({"train": [entry]}))
    assert read_collection(tmp_path).problem("unreadable-row") == ("annotation.json:train[0]",)


@pytest.mark.parametrize(
    "document",
    [
        '<!DOCTYPE e [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><eCitation>&b;</eCitation>',
        '<!DOCTYPE e [<!ENTITY x SYSTEM "file:///etc/passwd">]><eCitation>&x;</eCitation>',
        '<!DOCTYPE e SYSTEM "http://example.org/e.dtd"><eCitation/>',
        "<eCitation>&undeclared;</eCitation>",
        "<eCitation>",
        "<eCitation>" + " " * MAX_BYTES + "</eCitation>",
        '<?xml version="1.0" encoding="x-none"?><eCitation/>',
    ],
    ids=[
        "bomb",
        "external entity",
        "external type",
        "undeclared entity",
        "unfinished",
        "oversized",
        "unknown encoding",
    ],
)
def test_hostile_or_broken_xml_is_refused_and_named(document: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"document type|well-formed|larger"):
        parse_xml(document.encode())
    write_openi(tmp_path, [NORMAL])
    (tmp_path / "ecgen-radiology" / "2.xml").write_text(document)
    collection = read_collection(tmp_path)
    assert [study.id for study in collection.studies] == ["31"]
    assert [name.split()[0] for name in collection.problem("unreadable-file")] == ["2.xml"]


def test_folder_without_a_layout_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no known layout") as error:
        read_collection(tmp_path)
    assert all(layout in str(error.value) for layout in LAYOUTS)


def test_folder_of_two_layouts_is_refused_until_one_is_chosen(tmp_path: Path) -> None:
    write_kaggle(tmp_path, [NORMAL])
    write_captions(tmp_path, [NORMAL])
    with pytest.raises(ValueError, match="several layouts: kaggle_csv, captions_csv"):
        read_collection(tmp_path)
    assert read_collection(tmp_path, "captions_csv").layout == "captions_csv"


def test_bad_path_or_layout_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_collection(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="file"):
        read_collection(touch(tmp_path / "file"))
    with pytest.raises(ValueError, match="unknown layout 'dicom'"):
        read_collection(tmp_path, "dicom")


def test_missing_column_is_refused_by_name(tmp_path: Path) -> None:
    write_table(tmp_path / "captions.csv", ("picture", "caption"), [])
    with pytest.raises(ValueError, match=r"captions.csv has no column image; it has picture, caption"):
        read_collection(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"train": {}}'])
def test_file_that_is_no_annotation_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "annotation.json").write_text(text)
    with pytest.raises(ValueError, match=r"annotation\.json: not"):
        read_collection(tmp_path)


def test_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown split 'tset'"):
        Collection("c", "kaggle_csv", ()).split("tset")
