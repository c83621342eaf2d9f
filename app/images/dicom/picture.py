"""A DICOM file as a picture: what is read and what is refused, with the reason."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary as KNOWN_UIDS  # type: ignore[attr-defined]  # no explicit export

from app.images.borders import Pixels
from app.images.dicom.elements import read_file
from app.images.dicom.greyscale import to_grey
from app.images.dicom.header import CARRIED, DESCRIBING, View, notes_on, pack_header, quiet, view_of
from app.images.dicom.pixels import Layout, read_values
from app.images.errors import (
    CorruptImageError,
    ImageTooLargeError,
    MultiFrameError,
    NoPixelDataError,
    UnsupportedImageError,
    UnsupportedModalityError,
)

READ_MODALITIES = ("CR", "DX", "RG", "OT")
"""Radiographs, and what secondary captures and digitised films are called (PS3.3, C.7.3.1.1.1)."""

# The other defined terms of PS3.3, C.7.3.1.1.1: only they are repeated in an answer.
_OTHER_MODALITIES = """
    ANN AR ASMT AU BDUS BI BMD CFM CT CTPROTOCOL DMS DG DOC ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER
    KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS PA PLAN POS PR PT PX REG RESP RF RTDOSE RTIMAGE
    RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC
"""
_SOP_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("1", "1.1", "1.1.1", "7", "7.1", "7.2", "7.3", "7.4"))
_READ = "radiographs (CR, DX) and secondary captures of them (OT) are read"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_LAYOUT = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
)
_SHOWN = (
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
)
_WANTED = frozenset(tag_for_keyword(keyword) or 0 for keyword in (*CARRIED, *DESCRIBING, *_LAYOUT, *_SHOWN))
_HEADER_BYTES = 2**24  # what a file may hold beside its pixels once it is inflated


class DicomPicture(NamedTuple):
    """`pixels` [H,W] as a viewer shows them, or RGB [H,W,3]; `header` as `pack_header` makes it."""

    pixels: Pixels | npt.NDArray[np.uint8]
    view: View | None
    header: bytes
    notes: list[str]


def read_picture(data: bytes, max_pixels: int) -> DicomPicture:
    """Reads a radiograph of at most `max_pixels`. Raises a `DecodeError`, or one of a dozen others on broken files."""
    with quiet():
        file = read_file(data, _WANTED, 2 * max_pixels + _HEADER_BYTES)
        dataset = file.dataset
        if file.pixels is None:
            raise NoPixelDataError("the file holds no pixel data")
        _check_modality(dataset)
        if (dataset.get("NumberOfFrames") or 1) > 1:
            raise MultiFrameError("the file holds several frames; send each image of a study as a file of its own")
        layout = _layout(dataset, max_pixels)
        values = read_values(file, layout)
        notes = notes_on(dataset)
        if layout.samples == 3:
            shift = max(0, layout.stored - 8)
            pixels: Pixels = np.asarray(values >> shift if shift else values, np.uint8)
        else:
            pixels = to_grey(values, layout, dataset, notes)
        return DicomPicture(pixels, view_of(dataset), pack_header(dataset), notes)


def _check_modality(dataset: Dataset) -> None:
    """Raises `UnsupportedModalityError`; where the header has no modality, by the SOP class."""
    modality = str(dataset.get("Modality") or "").strip().upper()
    if modality in _OTHER_MODALITIES.split():
        raise UnsupportedModalityError(f"the file's modality is {modality}; {_READ}")
    if modality and modality not in READ_MODALITIES:
        raise UnsupportedModalityError(f"the file's modality is none of PS3.3; {_READ}")
    known = KNOWN_UIDS.get(str(dataset.get("SOPClassUID") or ""))
    if not modality and known and str(dataset.SOPClassUID) not in _SOP_CLASSES:
        raise UnsupportedModalityError(f"the file is of the SOP class {known[0]}; {_READ}")


def _layout(dataset: Dataset, max_pixels: int) -> Layout:
    """How the values are stored. Raises what stands against reading them, before any are read."""
    names = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")
    if missing := [name for name in names if dataset.get(name) in (None, "")]:
        raise CorruptImageError(f"the file is damaged or incomplete: its header has no {missing[0]}")
    rows, columns, allocated = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    photometric = str(dataset.PhotometricInterpretation).strip().upper()
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if rows * columns > max_pixels:
        raise ImageTooLargeError(f"the image has {rows * columns} pixels, more than {max_pixels}")
    if photometric not in (*_GREY, *_COLOURS):
        raise UnsupportedImageError("the file is DICOM in colours other than RGB and YBR, which is not read")
    if allocated not in (8, 16):
        raise UnsupportedImageError("the file is DICOM of other than 8 or 16 bits a sample, which is not read")
    if not rows or not columns or samples != (1 if photometric in _GREY else 3):
        raise CorruptImageError("the file is damaged: its header cannot be right")
    stored = int(dataset.get("BitsStored") or allocated)
    if not 1 < stored <= allocated:
        stored = allocated
    high = int(dataset.get("HighBit") or 0)
    if not stored <= high + 1 <= allocated:
        high = stored - 1
    signed = dataset.get("PixelRepresentation") == 1 and samples == 1
    planar = int(dataset.get("PlanarConfiguration") or 0)
    return Layout(rows, columns, samples, allocated, stored, high, signed, photometric, planar)
