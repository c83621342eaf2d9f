"""Which DICOM files are read and which are refused, and what of their headers goes on."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from app.images.decode import DecodedImage, decode_image
from app.images.dicom.header import CARRIED, read_header
from app.images.errors import CorruptImageError, DecodeError
from tests.app.dicom_bombs import bombs
from tests.app.dicom_phantoms import Storage, describe, dicom, write
from tests.app.pictures import film, phantom16

FINE = film(200, 160).astype(np.uint16) * 257
FILES_OF_PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
VIEW = {"ViewPosition": None, "PatientOrientation": None}


def refusal(file: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode_image(file)
    return caught.value


def of(**tags: Any) -> DecodedImage:
    return decode_image(dicom(FINE, **tags))


@pytest.mark.parametrize("modality", ["CR", "DX", "RG", "OT", "", None])
def test_radiographs(modality: str | None) -> None:
    """Radiographs, secondary captures of them, and what says of itself neither are read."""
    tags = {} if modality else {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}
    assert of(Modality=modality, **tags).format == "DICOM"


@pytest.mark.parametrize("modality", ["CT", "MR", "MG", "US", "PT", "XA", "SEG"])
def test_other_modalities(modality: str) -> None:
    """Anything else is refused by its modality, whatever the picture looks like."""
    error = refusal(dicom(FINE, Modality=modality))
    assert error.type == "unsupported-modality"
    assert f"modality is {modality};" in str(error)


def test_modality_is_no_echo() -> None:
    """A modality that the standard does not know is refused without being repeated, a missing one by the SOP class."""
    error = refusal(dicom(FINE, Modality="DOE JOHN"))
    assert error.type == "unsupported-modality"
    assert "DOE" not in str(error)
    error = refusal(dicom(FINE, Modality=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.2"))
    assert error.type == "unsupported-modality"
    assert "CT Image Storage" in str(error)


def test_no_pixels_and_several_frames() -> None:
    """A file without an image, and one with several, are refused with that reason."""
    assert refusal(write(describe(1, 1, Modality="DX"))).type == "no-pixel-data"
    assert refusal(dicom(FINE, NumberOfFrames=2)).type == "multi-frame"
    assert of(NumberOfFrames=1).width == 160


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile"),
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced"),
        ("1.2.840.113619.5.2", "not known"),
        ("1.2.3.4.5", "not known"),
    ],
)
def test_unknown_syntaxes(syntax: str, name: str) -> None:
    """A transfer syntax that is not read is named where the standard lists it."""
    file = dicom(FINE, Storage(RLELossless))
    padded = syntax.encode() + b"\0" * (len(syntax) % 2)
    old = b"\x02\0\x10\0UI" + len(RLELossless + "\0").to_bytes(2, "little") + RLELossless.encode() + b"\0"
    assert old in file
    error = refusal(file.replace(old, b"\x02\0\x10\0UI" + len(padded).to_bytes(2, "little") + padded))
    assert error.type == "unsupported-transfer-syntax"
    assert name in str(error)


def test_twelve_bit_jpeg_is_refused() -> None:
    """JPEG of 12 bits, which nothing here decodes, is no damaged file."""
    file = dicom(FINE, Storage(JPEGLosslessSV1, 12))
    file = file.replace(JPEGLosslessSV1.encode(), JPEGExtended12Bit.encode()).replace(b"\xff\xc3", b"\xff\xc1", 1)
    error = refusal(file)
    assert error.type == "unsupported-transfer-syntax"
    assert "JPEG Extended" in str(error)


@pytest.mark.parametrize(
    "tags",
    [
        {"Rows": None},
        {"Columns": 0},
        {"BitsAllocated": None},
        {"PhotometricInterpretation": None},
        {"SamplesPerPixel": 3},
        {"Rows": 201},
    ],
)
def test_headers_that_cannot_be_right(tags: dict[str, Any]) -> None:
    """What pixels need and the header does not have makes a damaged file."""
    assert refusal(dicom(FINE, **tags)).type == "corrupt-image"


@pytest.mark.parametrize("tags", [{"BitsAllocated": 32}, {"PhotometricInterpretation": "PALETTE COLOR"}])
def test_what_is_not_read(tags: dict[str, Any]) -> None:
    """Sound files of kinds that are not read are called that."""
    assert refusal(dicom(FINE, **tags)).type == "unsupported-media-type"


def test_too_many_pixels() -> None:
    """The size is compared with the limit before any pixel is looked at."""
    with pytest.raises(DecodeError) as caught:
        decode_image(dicom(FINE)[:2000], max_pixels=100)
    assert caught.value.type == "corrupt-image"  # cut off: it is not even walked through
    with pytest.raises(DecodeError) as caught:
        decode_image(dicom(FINE), max_pixels=100)
    assert caught.value.type == "image-too-large"


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, RLELossless, Storage().syntax])
def test_truncated(syntax: str) -> None:
    """A file that is cut off anywhere is damaged, and never half a picture."""
    file = dicom(FINE, Storage(syntax))
    for length in range(140, len(file) - 64, len(file) // 37):
        with pytest.raises(CorruptImageError):
            decode_image(file[:length])


def test_bombs() -> None:
    """Every bomb ends as an error of the table, without a process to hold it."""
    for name, file in bombs():
        assert refusal(file).type in ("corrupt-image", "image-too-large", "multi-frame"), name


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"ViewPosition": "AP"}, "frontal"),
        ({"ViewPosition": "LL"}, "lateral"),
        ({"ViewPosition": "rl "}, "lateral"),
        ({"ViewPosition": "RAO"}, None),
        ({"ViewPosition": None, "PatientOrientation": ["L", "F"]}, "frontal"),
        ({"ViewPosition": None, "PatientOrientation": ["A", "F"]}, "lateral"),
        ({"ViewPosition": None, "PatientOrientation": "L"}, None),
        (VIEW, None),
    ],
)
def test_view(tags: dict[str, Any], view: str | None) -> None:
    """The view that the header names, by position or orientation."""
    assert of(**tags).view == view


@pytest.mark.parametrize(("code", "view"), [("R-10206", "frontal"), ("399173006", "lateral"), ("1", None)])
def test_view_code(code: str, view: str | None) -> None:
    """Or by its code."""
    item = Dataset()
    item.CodeValue = code
    assert of(**VIEW, ViewCodeSequence=[item]).view == view


@pytest.mark.parametrize("part", ["CHEST", "Thorax PA", "LUNG", "", None])
def test_chests(part: str | None) -> None:
    """Names of the chest, and none, raise no doubt."""
    assert of(BodyPartExamined=part).warnings == ()


@pytest.mark.parametrize(
    ("tags", "note"),
    [
        ({"BodyPartExamined": "KNEE"}, "another part of the body"),
        ({"PatientOrientation": ["R", "F"]}, "left and right may be exchanged"),
        ({"PatientOrientation": ["L", "H"]}, "not upright"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "raw values"),
    ],
)
def test_notes(tags: dict[str, Any], note: str) -> None:
    """What a reader should know of an image is said, and nothing of it repeated."""
    (warning,) = of(**tags).warnings
    assert note in warning
    assert "KNEE" not in warning


def test_header() -> None:
    """What relates an answer to patient, study and image is carried over, and nothing else."""
    tags: dict[str, Any] = {
        "OperatorsName": "OPERATOR^1",
        "PatientAddress": "somewhere",
        "SpecificCharacterSet": "ISO_IR 100",
    }
    image = of(number=7, instance=2, PatientName="PHANTÖM^0007", ViewPosition="PA", **tags)
    assert "PHANTOM" not in repr(image)
    assert image.header is not None
    header, source = read_header(image.header), describe(7, 2, Modality="DX")
    assert {element.keyword for element in header} <= {*CARRIED, "SpecificCharacterSet"}
    assert header.PatientName == "PHANTÖM^0007"
    assert header.SpecificCharacterSet == "ISO_IR 192"
    for keyword in (
        "PatientID",
        "AccessionNumber",
        "StudyInstanceUID",
        "SOPInstanceUID",
        "StudyDate",
        "InstanceNumber",
    ):
        assert header[keyword].value == source[keyword].value
    assert (header.Rows, header.Columns) == (200, 160)


def test_header_without_what_is_not_valid() -> None:
    """A date or UID that is none is left out, as is what is too long, and the picture is read all the same."""
    file = dicom(FINE)
    date, uid = (
        describe(1, 1, Modality="DX").StudyDate.encode(),
        describe(1, 1, Modality="DX").StudyInstanceUID.encode(),
    )
    file = file.replace(b"DA\x08\0" + date, b"DA\x08\0" + b"tomorrow").replace(uid, b"x" * len(uid))
    image = decode_image(file)
    assert image.header is not None
    header = read_header(image.header)
    assert "StudyDate" not in header
    assert "StudyInstanceUID" not in header
    assert header.PatientID == "PHANTOM-ID-0001"
    long = decode_image(dicom(FINE, PatientName="X" * 5000)).header
    assert long is not None
    assert "PatientName" not in read_header(long)


def test_real_films(data_dir: Path) -> None:
    """The real films are read, but one that calls itself CT."""
    files = sorted((data_dir / "dicom").glob("*.dcm"))
    assert len(files) >= 8
    outcomes = {}
    for file in files:
        try:
            image = decode_image(file.read_bytes())
        except DecodeError as error:
            outcomes[file.name] = error.type
        else:
            assert np.ptp(image.pixels) > np.iinfo(image.pixels.dtype).max / 2
            outcomes[file.name] = image.view or "?"
    assert outcomes.pop("nih_test5.dcm") == "unsupported-modality"
    assert set(outcomes.values()) <= {"frontal", "lateral", "?"}
    assert outcomes["RG1_J2KI.dcm"] == outcomes["CR-MONO1-10-chest.dcm"] == "frontal"


def test_files_of_pydicom() -> None:
    """Each file that pydicom is tested with is read or refused."""
    outcomes = set()
    files = [path for path in FILES_OF_PYDICOM.rglob("*") if path.is_file()]
    assert len(files) > 100
    for file in files:
        try:
            outcomes.add(decode_image(file.read_bytes()).format)
        except DecodeError as error:
            outcomes.add(error.type)
    assert outcomes > {"DICOM", "unsupported-modality", "no-pixel-data", "multi-frame", "corrupt-image"}


def test_order_of_elements() -> None:
    """Elements that follow the pixels are passed over, as is padding."""
    file = dicom(phantom16())
    padding = b"\xfc\xff\xfc\xffOB\0\0\x08\0\0\0" + bytes(8)
    np.testing.assert_array_equal(decode_image(file + padding).pixels, decode_image(file).pixels)
    again = pydicom.dcmread(BytesIO(file + padding))
    assert 0xFFFCFFFC in again
