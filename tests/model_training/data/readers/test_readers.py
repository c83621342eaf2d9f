"""Every layout gives the records that its files hold."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from model_training.data import Collection, Study, StudyImage, read_collection
from tests.model_training.data.readers.layouts import (
    CARDIOMEGALY,
    NORMAL,
    STUDIES,
    touch,
    write_captions,
    write_kaggle,
    write_openi,
    write_r2gen,
    write_table,
)


def contents(collection: Collection) -> list[Study]:
    """Studies with their images' views instead of paths, which differ between layouts, in order of their ids."""
    studies = [
        replace(s, images=tuple(StudyImage(Path(), image.view) for image in s.images)) for s in collection.studies
    ]
    return sorted(studies, key=lambda study: study.id)


@pytest.fixture(scope="module")
def indiana(data_dir: Path) -> Collection:
    return read_collection(data_dir / "iu_xray")


@pytest.fixture(scope="module")
def indiana_with_images(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """The real tables beside files for every image they name: readers look at names, never into images."""
    root = tmp_path_factory.mktemp("indiana")
    for file in ("indiana_reports.csv", "indiana_projections.csv", "annotation.json"):
        (root / file).symlink_to((data_dir / "iu_xray" / file).resolve())
    (root / "images").mkdir()
    with (root / "indiana_projections.csv").open(newline="") as projections:
        for row in csv.DictReader(projections):
            (root / "images" / row["filename"]).touch()
    return read_collection(root)


def test_real_collection_has_its_published_counts(indiana_with_images: Collection) -> None:
    studies = indiana_with_images.studies
    views = Counter(image.view for study in studies for image in study.images)
    assert len(studies) == 3851
    assert views == {"frontal": 3818, "lateral": 3648}
    assert sum(bool(study.findings) for study in studies) == 3337
    assert sum(bool(study.impression) for study in studies) == 3820


def test_real_collection_has_the_official_split_with_two_views_or_more(indiana_with_images: Collection) -> None:
    splits = {name: indiana_with_images.split(name) for name in ("train", "val", "test")}
    assert {name: len(studies) for name, studies in splits.items()} == {"train": 2069, "val": 296, "test": 590}
    assert all(len(study.images) >= 2 for studies in splits.values() for study in studies)
    assert indiana_with_images.problem("split-of-unknown-study") == ()


def test_real_collection_without_its_images_is_read_for_its_texts(indiana: Collection) -> None:
    assert len(indiana.split("test")) == 590
    assert indiana.split("test", with_images=True) == ()
    assert len(indiana.problem("missing-image")) + sum(len(study.images) for study in indiana.studies) == 7466


def test_real_images_are_found_under_both_circulating_spellings(indiana: Collection) -> None:
    names = {image.path.name for study in indiana.studies for image in study.images}
    assert {"7_IM-2263-1001.dcm.png", "CXR1900_IM-0584-1001.png"} <= names
    assert len(names) == 20


def test_real_annotation_gives_the_same_texts_as_the_tables(data_dir: Path, indiana: Collection) -> None:
    annotated = read_collection(data_dir / "iu_xray", "r2gen_json")
    tables = {study.id: study for study in indiana.studies}
    assert len(annotated.studies) == 2955
    assert all(replace(tables[study.id], images=()) == replace(study, images=()) for study in annotated.studies)
    assert annotated.problem("report-differs") == ()


def test_real_studies_give_the_same_records_through_open_i_xml(indiana_with_images: Collection, tmp_path: Path) -> None:
    sample = indiana_with_images.studies[:300]
    write_openi(tmp_path, sample)
    through_xml = read_collection(tmp_path)
    assert through_xml.layout == "openi_xml"
    assert contents(through_xml) == contents(replace(indiana_with_images, studies=sample))


def test_real_labelled_images_have_the_counts_of_their_description(data_dir: Path) -> None:
    collection = read_collection(data_dir / "radiographs")
    assert Counter((study.source, study.split) for study in collection.studies) == {
        ("nih", "train"): 1592,
        ("nih", "val"): 273,
        ("nih", "test"): 374,
        ("nih128", "train"): 6198,
        ("nih128", "val"): 1237,
        ("nih128", "test"): 1340,
        ("kermany", "train"): 3751,
        ("kermany", "val"): 629,
        ("kermany", "test"): 830,
        ("rsna_normal", "train"): 1500,
        ("hannover", "external"): 243,
    }
    assert collection.problems == ()


@pytest.mark.parametrize("write", [write_kaggle, write_openi])
def test_studies_come_back_as_written(write: object, tmp_path: Path) -> None:
    assert callable(write)
    write(tmp_path, STUDIES)
    collection = read_collection(tmp_path)
    assert contents(collection) == sorted(
        (replace(s, images=tuple(StudyImage(Path(), i.view) for i in s.images)) for s in STUDIES), key=lambda s: s.id
    )
    assert {problem.kind for problem in collection.problems} == {"no-image"}


def test_r2gen_layout_joins_the_rest_from_the_tables_beside_it(tmp_path: Path) -> None:
    write_kaggle(tmp_path, STUDIES)
    write_r2gen(tmp_path, [CARDIOMEGALY, NORMAL])
    assert contents(read_collection(tmp_path, "r2gen_json")) == contents(
        replace(read_collection(tmp_path), studies=read_collection(tmp_path).studies[:2])
    )


def test_captions_of_one_study_are_joined_when_there_is_a_study_column(tmp_path: Path) -> None:
    write_captions(tmp_path, [CARDIOMEGALY, NORMAL])
    assert contents(read_collection(tmp_path)) == [
        replace(s, images=(StudyImage(Path(), "frontal"), StudyImage(Path(), "lateral")), indication="", mesh=())
        for s in (NORMAL, CARDIOMEGALY)
    ]


def test_equal_captions_are_not_joined_without_a_study_column(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    touch(tmp_path / "b.png")
    write_table(tmp_path / "captions.csv", ("image", "caption"), [("a.png", "Clear lungs."), ("b.png", "Clear lungs.")])
    assert [(s.id, len(s.images), s.findings) for s in read_collection(tmp_path).studies] == [
        ("a.png", 1, "Clear lungs."),
        ("b.png", 1, "Clear lungs."),
    ]


def test_own_split_of_an_annotation_entry_beats_the_list_it_stands_in(tmp_path: Path) -> None:
    write_r2gen(tmp_path, STUDIES[:2], test_key="    ")
    assert [study.id for study in read_collection(tmp_path).split("test")] == ["31"]


def test_r2gen_images_are_frontal_then_lateral_by_convention(tmp_path: Path) -> None:
    write_r2gen(tmp_path, [NORMAL])
    (study,) = read_collection(tmp_path).studies
    assert [(image.path.name, image.view) for image in study.images] == [("0.png", "frontal"), ("1.png", "lateral")]


def test_r2gen_views_follow_the_tables_when_a_study_has_one_view_only(tmp_path: Path) -> None:
    laterals = replace(NORMAL, images=tuple(replace(image, view="lateral") for image in NORMAL.images))
    write_kaggle(tmp_path, [laterals])
    write_r2gen(tmp_path, [laterals])
    (study,) = read_collection(tmp_path, "r2gen_json").studies
    assert [image.view for image in study.images] == ["lateral", "lateral"]


def test_tables_take_their_split_from_the_annotation_beside_them(tmp_path: Path) -> None:
    write_kaggle(tmp_path, STUDIES)
    write_r2gen(tmp_path, [replace(CARDIOMEGALY, split="val")])
    assert [s.split for s in read_collection(tmp_path).studies] == ["train", "test", None]
    (tmp_path / "split.csv").unlink()
    assert [s.split for s in read_collection(tmp_path).studies] == ["val", None, None]


def test_open_i_views_are_unknown_without_the_table_of_projections(tmp_path: Path) -> None:
    write_openi(tmp_path, [NORMAL])
    (tmp_path / "indiana_projections.csv").unlink()
    assert [image.view for image in read_collection(tmp_path).studies[0].images] == [None, None]


def test_labels_are_present_absent_or_unknown(tmp_path: Path) -> None:
    header = ("file", "source", "patient", "split", "view", "effusion", "mass", "nodule")
    write_table(tmp_path / "labels.csv", header, [("a/1.jpg", "nih", "9", "external", "AP", "1", "0", "")])
    touch(tmp_path / "a" / "1.jpg")
    (study,) = read_collection(tmp_path).studies
    assert study == Study(
        "a/1.jpg",
        (StudyImage(tmp_path / "a" / "1.jpg", "frontal"),),
        labels=(("effusion", True), ("mass", False), ("nodule", None)),
        attributes=(("anteroposterior", 1.0),),
        split="external",
        patient="nih/9",
        source="nih",
    )


@pytest.mark.parametrize(
    ("view", "age", "sex", "seen", "attributes"),
    [
        ("PA", "58", "M", "frontal", {"age": 58.0, "male": 1.0, "anteroposterior": 0.0}),
        ("AP", "058Y", "f", "frontal", {"age": 58.0, "male": 0.0, "anteroposterior": 1.0}),
        ("AP Supine", "411", "", "frontal", {}),
        ("L", "", "O", "lateral", {}),
        ("?", "-1", "FM", None, {}),
    ],
)
def test_patient_and_exposure_are_known_as_far_as_they_can_be_read(
    view: str, age: str, sex: str, seen: str | None, attributes: dict[str, float], tmp_path: Path
) -> None:
    write_table(tmp_path / "labels.csv", ("file", "view", "age", "sex", "mass"), [("1.jpg", view, age, sex, "0")])
    touch(tmp_path / "1.jpg")
    (study,) = read_collection(tmp_path).studies
    assert (study.images[0].view, dict(study.attributes)) == (seen, attributes)


@pytest.mark.parametrize("nothing", ["", " ", "None", "none.", "N/A", "nan", "#NAME?", ".", "None ."])
def test_section_that_says_nothing_is_empty(nothing: str, tmp_path: Path) -> None:
    write_kaggle(tmp_path, [replace(NORMAL, impression=nothing, indication=nothing)])
    (study,) = read_collection(tmp_path).studies
    assert (study.impression, study.indication) == ("", "")
