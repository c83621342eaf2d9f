"""DICOM files made of pictures: every encoding that is read, and the ways in which one picture can be stored.

The patients are made up: PHANTOM^0001 and so on, whose ids, accession numbers and dates nothing else has.
"""

from __future__ import annotations

import io
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_encoder
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
LOSSLESS = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
)
SOP_CLASSES = {
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "OT": SecondaryCaptureImageStorage,
}


@dataclass(frozen=True, slots=True)
class Storage:
    """How a picture is stored. A picture of 8 or 16 bits is spread over the `bits` stored; `signed` values are so much
    lower that they are as many below zero as above."""

    syntax: str = ExplicitVRLittleEndian
    bits: int = 16
    signed: bool = False
    photometric: str = "MONOCHROME2"


def dicom(picture: Pixels, storage: Storage | None = None, *, number: int = 1, instance: int = 1, **tags: Any) -> bytes:
    """A file of the `instance`th image of the phantom patient `number`, who has one study. `tags` are set, or deleted
    where they are None, before it is written; those that describe pixels, too, so that a file can lie."""
    storage = storage or Storage()
    dataset = describe(number, instance, **{"Modality": "DX", **{k: v for k, v in tags.items() if k == "Modality"}})
    _add_pixels(dataset, _stored(picture, storage), storage)
    for name, value in tags.items():
        if value is None:
            dataset.pop(name, None)
        else:
            setattr(dataset, name, value)
    return write(dataset, storage.syntax)


def describe(number: int, instance: int, **tags: Any) -> Dataset:
    """The data set of a phantom's image, without pixels."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID = SOP_CLASSES.get(tags["Modality"], SecondaryCaptureImageStorage)
    dataset.SOPInstanceUID = uid("instance", number, instance)
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = f"1907{1 + number % 12:02}{1 + number % 28:02}"
    dataset.StudyTime = dataset.ContentTime = "101112"
    dataset.AccessionNumber = f"ACCESSION-{number:04}"
    dataset.Manufacturer = "xray-report"
    dataset.ReferringPhysicianName = f"REFERRER^{number:04}"
    dataset.StudyDescription = f"Phantom study {number:04}"
    dataset.PatientName = f"PHANTOM^{number:04}"
    dataset.PatientID = f"PHANTOM-ID-{number:04}"
    dataset.IssuerOfPatientID = "PHANTOMS"
    dataset.PatientBirthDate = f"1871{1 + number % 12:02}{1 + number % 28:02}"
    dataset.PatientSex = "O"
    dataset.BodyPartExamined = "CHEST"
    dataset.StudyInstanceUID = uid("study", number)
    dataset.SeriesInstanceUID = uid("series", number, instance)
    dataset.StudyID = f"STUDY-{number:04}"
    dataset.SeriesNumber = instance
    dataset.InstanceNumber = instance
    dataset.ViewPosition = "PA"
    dataset.PatientOrientation = ["L", "F"]
    dataset.Laterality = ""
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def uid(*parts: object) -> str:
    """The same UID for the same parts, at every run."""
    return str(generate_uid(entropy_srcs=["xray-report phantom", *map(str, parts)]))


def write(dataset: Dataset, syntax: str = ExplicitVRLittleEndian, *, meta: bool = True) -> bytes:
    """The file of a data set, encoded as `syntax` says; without `meta` only the data set."""
    file = io.BytesIO()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "")
    dataset.file_meta.ImplementationClassUID = pydicom.uid.PYDICOM_IMPLEMENTATION_UID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some files are meant to be odd
        if meta:
            pydicom.dcmwrite(file, dataset, enforce_file_format=True)
        else:
            implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
            pydicom.dcmwrite(file, _without_meta(dataset), implicit_vr=implicit, little_endian=little)
    return file.getvalue()


def _without_meta(dataset: Dataset) -> Dataset:
    bare = Dataset(dataset)
    bare.__dict__.pop("file_meta", None)
    return bare


def _stored(picture: Pixels, storage: Storage) -> npt.NDArray[np.integer[Any]]:
    """The values that stand in the file."""
    most = 2**storage.bits - 1
    values = np.rint(picture.astype(np.float64) * most / np.iinfo(picture.dtype).max).astype(np.int64)
    if storage.photometric == "MONOCHROME1":
        values = most - values
    if storage.signed:
        values -= 2 ** (storage.bits - 1)
    return values.astype(f"{'i' if storage.signed else 'u'}{1 if storage.bits <= 8 else 2}")


def _add_pixels(dataset: Dataset, values: npt.NDArray[np.integer[Any]], storage: Storage) -> None:
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = storage.photometric
    dataset.BitsAllocated = 8 * values.itemsize
    dataset.BitsStored, dataset.HighBit = storage.bits, storage.bits - 1
    dataset.PixelRepresentation = int(storage.signed)
    if pydicom.uid.UID(storage.syntax).is_compressed and storage.syntax != DeflatedExplicitVRLittleEndian:
        dataset.PixelData = encapsulate([_encoded(dataset, values, storage)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    else:
        order = ">" if storage.syntax == ExplicitVRBigEndian else "<"
        raw = values.astype(values.dtype.newbyteorder(order)).tobytes()
        dataset.PixelData = raw + b"\0" * (len(raw) % 2)
        dataset["PixelData"].VR = "OW" if values.itemsize == 2 else "OB"


def _encoded(dataset: Dataset, values: npt.NDArray[np.integer[Any]], storage: Storage) -> bytes:
    """One frame as the syntax has it."""
    if storage.syntax == JPEGBaseline8Bit:
        assert (storage.bits, storage.signed) == (8, False), "the syntax has 8 bits without a sign"
        file = io.BytesIO()
        Image.fromarray(values.astype(np.uint8)).save(file, "JPEG", quality=95)
        return file.getvalue()
    if storage.syntax in (JPEGLossless, JPEGLosslessSV1):
        return _encoded_by_gdcm(dataset, values, storage.syntax)
    options = {
        "rows": dataset.Rows,
        "columns": dataset.Columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": dataset.BitsAllocated,
        "bits_stored": storage.bits,
        "pixel_representation": int(storage.signed),
        "photometric_interpretation": storage.photometric,
    }
    plugin = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls"}.get(storage.syntax, "pylibjpeg")
    encoded: bytes = get_encoder(storage.syntax).encode(values, encoding_plugin=plugin, **options)
    return encoded


def _encoded_by_gdcm(dataset: Dataset, values: npt.NDArray[np.integer[Any]], syntax: str) -> bytes:
    """JPEG lossless, for which pydicom has no encoder: GDCM turns a file into another."""
    plain = Dataset(dataset)
    plain.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    plain["PixelData"].VR = "OW" if values.itemsize == 2 else "OB"
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.dcm", Path(folder) / "after.dcm"
        before.write_bytes(write(plain))
        reader, writer, change = gdcm.ImageReader(), gdcm.ImageWriter(), gdcm.ImageChangeTransferSyntax()
        reader.SetFileName(str(before))
        assert reader.Read(), "GDCM does not read this"
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reader.GetImage())
        assert change.Change(), "GDCM does not encode this"
        writer.SetFileName(str(after))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write(), "GDCM does not write this"
        written = pydicom.dcmread(after)
    return next(generate_frames(written.PixelData, number_of_frames=1))
