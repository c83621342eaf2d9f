"""A picture is the same picture in whichever DICOM encoding it comes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from torch import Tensor

from app.images.decode import decode_image
from app.inference.checkpoint import load_checkpoint
from tests.app.dicom_phantoms import LOSSLESS, Storage, describe, dicom, write
from tests.app.pictures import film, png

PICTURE = film(320, 256)
PICTURE[20:30, 20:40] = 255  # a marker: the brightest that there is
PICTURE[:8, :8] = 0
FINE = PICTURE.astype(np.uint16) * 257


@pytest.fixture(scope="module")
def preprocess(tiny_checkpoint: Path) -> Any:
    """What the network is given of a file."""
    module: Any = load_checkpoint(tiny_checkpoint).module

    def of(file: bytes) -> Tensor:
        pixels = decode_image(file).pixels
        tensor: Tensor = module.preprocess(torch.from_numpy(pixels.astype(np.float32) / np.iinfo(pixels.dtype).max))
        return tensor

    return of


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: str(syntax.name)[:40])
def test_lossless(syntax: str, preprocess: Any) -> None:
    """In every lossless encoding, depth, sign and polarity the network sees what it sees of the PNG."""
    expected = preprocess(png(Image.fromarray(PICTURE)))
    for bits, signed, photometric in product((8, 10, 12, 16), (False, True), ("MONOCHROME1", "MONOCHROME2")):
        seen = preprocess(dicom(FINE, Storage(syntax, bits, signed, photometric)))
        assert float((seen - expected).abs().max()) < (1e-3 if bits != 10 else 1e-2), (bits, signed, photometric)


def test_lossy(preprocess: Any) -> None:
    """JPEG baseline comes close."""
    expected = preprocess(png(Image.fromarray(PICTURE)))
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        seen = preprocess(dicom(PICTURE, Storage(JPEGBaseline8Bit, 8, photometric=photometric)))
        assert float((seen - expected).abs().mean()) < 0.05


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_without_meta_header(syntax: str) -> None:
    """A bare data set is read as well; how it is written shows in its first element."""
    dataset = describe(1, 1, Modality="CR")
    dataset.Rows, dataset.Columns = FINE.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelData = FINE.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    np.testing.assert_array_equal(decode_image(write(dataset, syntax, meta=False)).pixels, FINE)


def test_preamble() -> None:
    """Whatever stands in the preamble, a program for one, is passed over; the SHA-256 is of the whole file."""
    file = dicom(FINE)
    other = b"MZ" + bytes(126) + file[128:]
    one, two = decode_image(file), decode_image(other)
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert (one.format, one.width, one.height) == ("DICOM", 256, 320)
    assert one.sha256 != two.sha256
