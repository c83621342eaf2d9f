"""The structured report: valid, read back by others, and what viewers demand of it."""

from __future__ import annotations

import io
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import pydicom
import pytest
from pydicom.sr.codedict import codes as dicom

from app.interop.draft import Draft
from app.interop.encapsulated_pdf import encapsulated_pdf
from app.interop.page.page import make_page
from app.interop.source import Source
from app.interop.structured_report import structured_report
from tests.app.interop.drafts import BOXES, draft, image, source

SOURCES = [("CR", 1), ("DX", 2), ("OT", 4)]  # OT is secondary capture


def study(images: int, **changes: Any) -> Draft:
    pictures = [image(i, view="lateral" if i % 2 == 0 else "frontal", read=i % 2 == 1) for i in range(1, images + 1)]
    return draft(*pictures, present=("effusion", "mass", "pneumonia"), warnings=["Image 2: a doubt."], **changes)


def read(file: bytes) -> Any:
    """The report as highdicom reads it."""
    return highdicom.sr.Comprehensive3DSR.from_dataset(pydicom.dcmread(io.BytesIO(file)))


def groups(report: Any) -> list[Any]:
    return [*report.content.get_image_measurement_groups(), *report.content.get_planar_roi_measurement_groups()]


def run(tool: str, file: bytes, folder: Path) -> str:
    """What a tool says of a file."""
    if not shutil.which(tool):
        pytest.skip(f"no {tool} on this machine")
    path = folder / "object.dcm"
    path.write_bytes(file)
    done = subprocess.run([tool, str(path)], capture_output=True, text=True, errors="replace", check=False)  # noqa: S603  # found above
    return done.stdout + done.stderr


def errors_of(file: bytes, folder: Path) -> list[str]:
    """What dciodvfy calls an error."""
    said = run("dciodvfy", file, folder).splitlines()
    assert said
    return [line for line in said if "Error" in line or "Abort" in line]


@pytest.mark.parametrize(("modality", "images"), SOURCES)
def test_objects_are_valid(modality: str, images: int, tmp_path: Path) -> None:
    """`dciodvfy` finds no error in the report or the page of any kind of source."""
    one, of = study(images), source(images, modality)
    assert errors_of(structured_report(one, of), tmp_path) == []
    assert errors_of(encapsulated_pdf(one, of, make_page(one, of)), tmp_path) == []


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientName": None, "PatientID": None, "PatientBirthDate": None, "PatientSex": None, "StudyDate": None},
        {"PatientName": "فانتوم^تجربة", "PatientID": "ערך-1", "StudyDescription": "胸部"},
        {"PatientName": "PHANTOM^Taro=山田^太郎=やまだ^たろう", "TimezoneOffsetFromUTC": "+0930"},
        {"PatientName": "A" * 200 + "^" + "B" * 200, "PatientID": "x" * 300, "AccessionNumber": "y" * 40},
        {"PatientName": "a\\b\x00\n<b>", "PatientSex": "unknown", "StudyTime": "9", "PatientBirthDate": "18710231"},
    ],
    ids=["nothing", "scripts", "groups", "long", "odd"],
)
def test_objects_of_odd_headers_are_valid(tags: dict[str, Any], tmp_path: Path) -> None:
    """Whatever a header says, what is copied from it is what DICOM allows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom says of such values what they are
        of = source(**tags)
    one = study(1)
    for file in (structured_report(one, of), encapsulated_pdf(one, of, make_page(one, of))):
        assert errors_of(file, tmp_path) == []
        made = pydicom.dcmread(io.BytesIO(file))
        assert made.PatientName == of.patient_name
        assert made.get("PatientID", "") == of.patient_id


def test_highdicom_reads_the_probabilities() -> None:
    """Every finding is a group with its probability, threshold, decision, algorithm and source image."""
    one = study(2)
    found = {}
    for group in groups(read(structured_report(one, source(2)))):
        values = {item.name.meaning: item.value for item in group.get_measurements()}
        decisions = [item.value.meaning for item in group.get_qualitative_evaluations()]
        found[group.tracking_identifier] = (values.get("Probability"), values.get("Decision threshold"), decisions)
    expected: dict[str, Any] = {
        finding.name: (finding.probability, finding.threshold, ["Present" if finding.present else "Negative"])
        for finding in one.findings
    }
    expected["abnormal"] = (0.794, None, ["Present"])
    expected["cardiothoracic_ratio"] = (None, None, [])
    assert found == expected


def test_boxes_are_coordinates_in_their_image() -> None:
    """A finding with a box has it as a closed line in the source image's pixels, cut off at its edges."""
    report = read(structured_report(study(2), source(2)))
    found = {}
    for group in report.content.get_planar_roi_measurement_groups():
        region = group.roi
        (referenced,) = region.ContentSequence
        assert referenced.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source(2).instances[0].sop_instance_uid
        found[group.tracking_identifier] = (region.value.min(axis=0).tolist(), region.value.max(axis=0).tolist())
    left, top, right, bottom = BOXES["effusion"]
    assert found == {"effusion": ([left, top], [right, bottom]), "mass": ([0.0, 80.0], [500.0, 420.0])}


def test_report_says_what_it_is() -> None:
    """Complete, unverified, preliminary, of the source's patient and study, with texts, model and disclaimer."""
    one, of = study(2), source(2)
    report = read(structured_report(one, of))
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert (report.StudyInstanceUID, report.AccessionNumber) == (of.study_uid, of.accession)
    assert (str(report.PatientName), report.PatientID) == ("PHANTOM^0001", of.patient_id)
    assert report.SeriesDescription == "AI draft: phantom-model 1.2.3"
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    referenced = [item.ReferencedSOPInstanceUID for one in evidence for item in one.ReferencedSOPSequence]
    assert sorted(referenced) == sorted(instance.sop_instance_uid for instance in of.instances)
    texts = [
        (item.ConceptNameCodeSequence[0].CodeValue, item.TextValue)
        for item in report.ContentSequence
        if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS"
    ]
    (_, said), *others = (text for text in texts if text[0] == dicom.DCM.Comment.value)
    assert texts[:2] == [("59776-5", one.sections["findings"]), ("19005-8", one.sections["impression"])]
    assert one.disclaimer in said
    assert [text for _, text in others] == ["Image 2: a doubt."]


def ohif(items: Any) -> Iterator[tuple[str, Any]]:
    """Each group of the report, by its tracking identifier, and the coordinates, as OHIF's handler of SR collects them.

    Written after getSopClassHandlerModule.ts of OHIF's extension cornerstone-dicom-sr: what it reads without asking
    whether it is there is read so here, and raises.
    """

    def code(item: Any) -> str:
        return str(item.ConceptNameCodeSequence[0].CodeValue)

    library = next(item for item in items if code(item) == "111028")
    images = next(item for item in library.ContentSequence if code(item) == "126200")
    assert all(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images.ContentSequence)
    measurements = next(item for item in items if code(item) == "126010")
    seen = set()
    for group in (item for item in measurements.ContentSequence if code(item) == "125007"):
        content = group.ContentSequence
        uid = next(item for item in content if code(item) == "112040").UID
        assert uid not in seen, "OHIF merges groups of one tracking UID"
        seen.add(uid)
        name = next(item for item in content if code(item) == "112039").TextValue
        assert any(code(item) == "121071" for item in content), "a Finding"
        region = next((item for item in content if item.ValueType == "SCOORD"), None)
        numbers = [item for item in content if item.ValueType == "NUM"]
        if region is None:
            # One item alone: OHIF takes the sequence for it.
            assert all(len(number.ContentSequence) == 1 for number in numbers)
        for coordinates in [region] if region else [number.ContentSequence[0] for number in numbers]:
            assert coordinates.ValueType == "SCOORD"
            assert coordinates.GraphicType
            assert coordinates.RelationshipType in ("CONTAINS", "INFERRED FROM")
            yield name, coordinates.ContentSequence[0].ReferencedSOPSequence[0]
        for number in numbers:
            assert number.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue


def taken_over(group: Any) -> tuple[str, list[float]] | None:
    """What OHIF's measurements have of a group: the meaning of its finding and the corners of a rectangle.

    Written after MeasurementReport and RectangleROI of @cornerstonejs/adapters, as in OHIF 3.13.2: a closed line of the
    group makes it a rectangle, but its corners are those below the first number.
    """
    content = group.ContentSequence
    region = next((item for item in content if item.ValueType == "SCOORD"), None)
    if region is None or region.GraphicType != "POLYLINE" or len(region.GraphicData) not in (8, 10):
        return None
    assert region.ConceptNameCodeSequence[0].CodeValue == "111030"
    number = next(item for item in content if item.ValueType == "NUM")
    line = next(item for item in number.ContentSequence if item.ValueType == "SCOORD")
    assert line.ContentSequence[0].ReferencedSOPSequence == region.ContentSequence[0].ReferencedSOPSequence
    finding = next(item for item in content if item.ConceptNameCodeSequence[0].CodeValue == "121071")
    return str(finding.ConceptCodeSequence[0].CodeMeaning), [float(x) for x in line.GraphicData[:8]]


def test_what_ohif_demands_is_there() -> None:
    """The title, image library, tracking identifiers, findings and coordinates that OHIF cannot do without."""
    one, of = study(4), source(4)
    report = pydicom.dcmread(io.BytesIO(structured_report(one, of)))
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    found = list(ohif(report.ContentSequence))
    assert {name for name, _ in found} == {finding.name for finding in one.findings} | {
        "abnormal",
        "cardiothoracic_ratio",
    }
    assert {str(image.ReferencedSOPClassUID) for _, image in found} == {of.instances[0].sop_class_uid}


def test_ohif_takes_the_boxes_over() -> None:
    """Every finding with a box, and none without one, becomes a rectangle in OHIF's list of measurements."""
    report = pydicom.dcmread(io.BytesIO(structured_report(study(2), source(2))))
    measurements = next(
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    left, top, right, bottom = BOXES["effusion"]
    assert list(filter(None, map(taken_over, measurements.ContentSequence))) == [
        ("Pleural effusion", [left, top, right, top, right, bottom, left, bottom]),
        ("Lung mass", [0.0, 80.0, 500.0, 80.0, 500.0, 420.0, 0.0, 420.0]),
    ]


def test_dsrdump_prints_it(tmp_path: Path) -> None:
    """dcmtk reads the tree without complaint."""
    said = run("dsrdump", structured_report(study(2), source(2)), tmp_path)
    assert "PRELIMINARY" in said
    assert said.count("Measurement Group") == 16
    assert "Pleural effusion" in said
    assert not [line for line in said.splitlines() if line.startswith(("E:", "F:"))]


def test_page_inside_is_the_page() -> None:
    """The encapsulated document is the page byte for byte, but for the byte that makes its length even."""
    one, of = study(1), source(1)
    page = make_page(one, of)
    for content in (page, page + b"\n"):
        made = pydicom.dcmread(io.BytesIO(encapsulated_pdf(one, of, content)))
        assert made.EncapsulatedDocument[: made.EncapsulatedDocumentLength] == content
        assert len(made.EncapsulatedDocument) % 2 == 0
    assert (made.BurnedInAnnotation, made.Modality) == ("YES", "DOC")
    assert made.SourceInstanceSequence[0].ReferencedSOPInstanceUID == of.instances[0].sop_instance_uid


def uids(one: Draft, of: Source) -> tuple[str, ...]:
    report = pydicom.dcmread(io.BytesIO(structured_report(one, of)))
    page = pydicom.dcmread(io.BytesIO(encapsulated_pdf(one, of, b"%PDF")))
    return tuple(uid for made in (report, page) for uid in (made.SeriesInstanceUID, made.SOPInstanceUID))


def test_uids_are_derived() -> None:
    """The same images, model and options give the same UIDs, whenever and in whatever order; any other, others."""
    one, of = study(2), source(2)
    first = uids(one, of)
    assert len(set(first)) == 4
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in first)
    later = replace(one, id="another", created=one.created.replace(year=2027), images=one.images[::-1])
    assert uids(later, replace(of, instances=of.instances[::-1])) == first
    others = (
        replace(one, images=(one.images[0], image(3))),
        replace(one, model_sha256="aa" * 32),
        replace(one, options={**one.options, "operating_point": "sensitive"}),
    )
    for other in others:
        assert not set(uids(other, of)) & set(first)
