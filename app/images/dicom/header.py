"""What a DICOM header says: what an answer must carry over, the view, and what a reader should know.

The header of a decoded image is a data set of its own, in Explicit VR Little Endian and UTF-8, with `CARRIED` and
nothing else. It names a patient: it is kept as long as its request, and is never logged.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any, Literal

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.valuerep import validate_value

View = Literal["frontal", "lateral"]

CARRIED = (
    "TimezoneOffsetFromUTC",
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
    *("ReferringPhysicianName", "StudyDescription"),
    *("SeriesInstanceUID", "Modality", "BodyPartExamined", "Laterality", "SeriesNumber"),
    *("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "Rows", "Columns", "ViewPosition", "PatientOrientation"),
)
"""By their keywords (PS3.6): what relates an answer to its patient, study and image."""
DESCRIBING = ("SpecificCharacterSet", "ViewCodeSequence", "PresentationIntentType")
"""What is looked at here beside those."""

_MAX_CHARACTERS = 1024
_CHECKED = ("UI", "DA", "TM", "IS", "CS")  # no value is better than one that no reader takes
_VIEWS: dict[str, View] = {
    **dict.fromkeys(("PA", "AP"), "frontal"),
    **dict.fromkeys(("LL", "RL", "LAT", "LATERAL"), "lateral"),
}
# CID 4010, in SNOMED CT and as it was before.
_VIEW_CODES: dict[str, View] = {
    **dict.fromkeys(("399348003", "R-10206", "272479007", "R-10214", "R-40888"), "frontal"),
    **dict.fromkeys(("399173006", "R-10236", "399198007", "R-10232", "399067008", "R-102CD"), "lateral"),
}
# What names of the chest contain, in the languages that were met.
_CHEST = ("CHEST", "THORA", "TORAX", "TÓRAX", "LUNG", "PULMO", "HEART", "PECHO")


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom warns of values by quoting them; within this it does not."""
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def pack_header(dataset: Dataset) -> bytes:
    """Those of `CARRIED` that a file has, as far as they can be read."""
    packed = Dataset()
    packed.SpecificCharacterSet = "ISO_IR 192"
    for keyword in CARRIED:
        with suppress(Exception):  # pydicom raises a dozen kinds on what was never valid
            element = dataset[keyword]
            if len(str(element.value)) > _MAX_CHARACTERS:
                continue
            one = Dataset()
            setattr(one, keyword, element.value)
            if element.VR in _CHECKED:
                for value in _values(element.value):
                    validate_value(element.VR, value, config.RAISE)
            _write(one)
            packed.add(one[keyword])
    return _write(packed)


def read_header(packed: bytes) -> Dataset:
    """The data set that `pack_header` wrote."""
    with quiet():
        dataset = read_dataset(BytesIO(packed), is_implicit_VR=False, is_little_endian=True)
        dataset.decode()
    return dataset


def _write(dataset: Dataset) -> bytes:
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, dataset)
    return file.getvalue()


def _values(value: Any) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def view_of(dataset: Dataset) -> View | None:
    """Which view the header calls it: by its position, its code or, for want of both, the patient's orientation."""
    if view := _VIEWS.get(_text(dataset, "ViewPosition")):
        return view
    codes = [_text(item, "CodeValue") for item in dataset.get("ViewCodeSequence") or []]
    if view := next((_VIEW_CODES[code] for code in codes if code in _VIEW_CODES), None):
        return view
    rows = _orientation(dataset)[0]
    if not _text(dataset, "ViewPosition") and not codes:
        return {"L": "frontal", "R": "frontal", "A": "lateral", "P": "lateral"}.get(rows)  # type: ignore[return-value]
    return None


def notes_on(dataset: Dataset) -> list[str]:
    """What a reader should know of an image by its header, in words of ours."""
    notes = []
    body_part = _text(dataset, "BodyPartExamined")
    if body_part and not any(name in body_part for name in _CHEST):
        notes.append("its header names another part of the body than the chest")
    if _text(dataset, "PresentationIntentType") == "FOR PROCESSING":
        notes.append("it holds a detector's raw values, which are not meant to be read; send the processed image")
    rows, columns = _orientation(dataset)
    if columns == "H" or rows in ("H", "F"):
        notes.append("its header says that the patient is not upright; it was taken as stored")
    elif rows == "R":
        notes.append("its header says that it is mirrored: left and right may be exchanged; it was taken as stored")
    return notes


def _orientation(dataset: Dataset) -> tuple[str, str]:
    """Where rows and columns lead to: L, R, A, P, H, F, or "" (PS3.3, C.7.6.1.1.1)."""
    values = [str(one).strip().upper()[:1] for one in _values(dataset.get("PatientOrientation") or [])]
    return (values[0], values[1]) if len(values) == 2 else ("", "")


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()
