"""What a DICOM file of 2,048² costs beside a PNG of the same picture: over HTTP, and decoded alone."""

from __future__ import annotations

import asyncio
import io
import statistics
import time

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from app.images.decode import decode_image
from benchmarks.client import Request, ask
from benchmarks.results import Row

SIDE = 2048
ENCODINGS = {
    "uncompressed": ExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
}
TURNS = 15


def rows(port: int, film: Image.Image) -> list[Row]:
    """The median over turns of what a file adds to the time of an answer, by encoding, over what decoding it takes in
    this process; the service is otherwise idle, and every turn asks for the PNG as well."""
    pixels = _pixels(film)
    file = io.BytesIO()
    Image.fromarray(pixels << 4).save(file, "PNG", compress_level=1)
    files = {"PNG": file.getvalue()} | {name: _file_of(pixels, syntax) for name, syntax in ENCODINGS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in files}
    alone: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(TURNS):
        for name, content in files.items():
            kind = "image/png" if name == "PNG" else "application/dicom"
            request = Request("POST", "/v1/report?num_beams=1&max_new_tokens=1", kind, content)
            answer = asyncio.run(ask(port, request))
            if answer.status != 200:
                raise RuntimeError(f"{name}: {answer.status} {answer.body[:200]!r}")
            seconds[name].append(answer.seconds)
            started = time.perf_counter()
            decode_image(content)
            alone[name].append(time.perf_counter() - started)
    found, png = [], statistics.median(seconds["PNG"])
    for name in ENCODINGS:
        added = statistics.median(a - b for a, b in zip(seconds[name], seconds["PNG"], strict=True))
        decoding = statistics.median(alone[name])
        title = f"DICOM of {SIDE:,}², {name}: added to a PNG's time / decoding it"
        note = f"{added * 1e3:.0f} ms added, {decoding * 1e3:.0f} ms decoding; PNG in all {png * 1e3:.0f} ms"
        found.append(Row(title, added / decoding, "times", goal=1.0, at_most=True, note=note))
    return found


def dicom_file(film: Image.Image, encoding: str) -> bytes:
    """A picture as such a file."""
    return _file_of(_pixels(film), ENCODINGS[encoding])


def _pixels(film: Image.Image) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """A film of twelve bits with the grain of a detector, which no encoding makes small."""
    enlarged = np.asarray(film.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.int32) * 16
    grain = np.random.default_rng(0).normal(0, 12, enlarged.shape).astype(np.int32)
    return (enlarged + grain).clip(0, 4095).astype(np.uint16)


def _file_of(pixels: np.ndarray[tuple[int, int], np.dtype[np.uint16]], syntax: UID) -> bytes:
    """A digital radiograph with what decoding asks for."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "2.25.1"
    image.Modality, image.BodyPartExamined, image.ViewPosition = "DX", "CHEST", "PA"
    image.set_pixel_data(pixels, "MONOCHROME2", 12, generate_instance_uid=False)
    if syntax.is_compressed:
        image.compress(syntax, generate_instance_uid=False)
    file = io.BytesIO()
    image.save_as(file, enforce_file_format=True)
    return file.getvalue()
