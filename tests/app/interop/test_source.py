"""Whose study it is, by what the headers of its files say together."""

from __future__ import annotations

import pytest

from app.interop.errors import NotExpressibleError
from app.interop.source import Source
from tests.app.dicom_phantoms import describe


def test_one_study() -> None:
    """Images of one study have one source, its instances in the order sent."""
    made = Source.of([describe(1, 2, Modality="DX"), describe(1, 1, Modality="CR")])
    assert made
    assert made.identified
    assert [one.modality for one in made.instances] == ["DX", "CR"]
    assert (made.patient_name, made.patient_id, made.accession) == ("PHANTOM^0001", "PHANTOM-ID-0001", "ACCESSION-0001")


def test_none_without_headers() -> None:
    """Where not every image has a header nobody is named: a picture may be of anybody."""
    assert Source.of([]) is None
    assert Source.of([None]) is None
    assert Source.of([describe(1, 1, Modality="DX"), None]) is None


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (describe(2, 1, Modality="DX"), "the images are of different studies"),
        (describe(1, 2, Modality="DX", PatientID="ANOTHER"), "the images name different patients"),
        (describe(1, 2, Modality="DX", PatientName="PHANTOM^0002"), "the images name different patients"),
        (describe(1, 2, Modality="DX", PatientBirthDate="18710101"), "the images name different patients"),
    ],
)
def test_contradictions(other: object, reason: str) -> None:
    """Images of two studies or patients have no source, and the reason quotes neither."""
    with pytest.raises(NotExpressibleError) as caught:
        Source.of([describe(1, 1, Modality="DX"), other])  # type: ignore[list-item]
    assert str(caught.value) == reason


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_missing_uids(keyword: str) -> None:
    """Without one of its UIDs nothing can refer to an image, and the source says so."""
    header = describe(1, 1, Modality="DX")
    del header[keyword]
    made = Source.of([header])
    assert made
    assert not made.identified


@pytest.mark.parametrize(
    ("keyword", "value", "attribute", "kept"),
    [
        ("PatientBirthDate", "18710231", "birth_date", ""),
        ("PatientBirthDate", "1871", "birth_date", ""),
        ("PatientBirthDate", "", "birth_date", ""),
        ("PatientSex", "m", "sex", ""),
        ("PatientSex", "F", "sex", "F"),
        ("StudyTime", "1012", "study_time", "1012"),
        ("StudyTime", "101299", "study_time", ""),
        ("TimezoneOffsetFromUTC", "+0930", "utc_offset", "+0930"),
        ("TimezoneOffsetFromUTC", "0930", "utc_offset", ""),
        ("PatientID", " a\x07b\u202ec ", "patient_id", "abc"),
        ("AccessionNumber", "0123456789abcdefg", "accession", "0123456789abcdef"),
        ("PatientName", "A^B^C^D^E^F", "patient_name", "A^B^C^D^E"),
        ("PatientName", "A^^^^", "patient_name", "A"),
        ("PatientName", "=山田^太郎", "patient_name", "=山田^太郎"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # pydicom says of such values what they are
def test_cleaning(keyword: str, value: str, attribute: str, kept: str) -> None:
    """What is carried over is what DICOM allows, or nothing."""
    made = Source.of([describe(1, 1, Modality="DX", **{keyword: value})])
    assert getattr(made, attribute) == kept
