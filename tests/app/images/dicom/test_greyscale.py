"""From stored values to what a viewer shows: modality, values of interest, polarity, padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from app.images.decode import DecodedImage, decode_image
from tests.app.dicom_phantoms import Storage, dicom

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16  # every value of 12 bits
STORED = RAMP.astype(np.float64) / 16
TWELVE = Storage(bits=12)


def shown(storage: Storage = TWELVE, picture: npt.NDArray[np.uint16] = RAMP, **tags: Any) -> npt.NDArray[np.float64]:
    """What is shown of the ramp, 0 to 1."""
    pixels = decoded(storage, picture, **tags).pixels
    return np.asarray(pixels / np.iinfo(pixels.dtype).max)


def decoded(storage: Storage = TWELVE, picture: npt.NDArray[np.uint16] = RAMP, **tags: Any) -> DecodedImage:
    spread = (picture.astype(np.float64) / 16 * 65535 / 4095).round().astype(np.uint16)
    return decode_image(dicom(spread, storage, **tags))


def window(values: npt.NDArray[np.float64], center: float, width: float) -> npt.NDArray[np.float64]:
    """PS3.3, C.11.2.1.2.1."""
    return np.asarray(((values - (center - 0.5)) / (width - 1) + 0.5).clip(0, 1))


def table(entries: list[int], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return item


def test_no_window() -> None:
    """Without a window the bits that are used span black to white, however many the header claims."""
    np.testing.assert_allclose(shown(), STORED / 4095, atol=1e-4)
    np.testing.assert_allclose(shown(BitsStored=16, HighBit=15), STORED / 4095, atol=1e-4)


@pytest.mark.parametrize(
    ("centers", "widths"),
    [(1000, 800), ([1000, 3000], [800, 100]), (["", 1000], ["", 800]), ([5, 1000], [0, 800]), ("1000\\", "800\\")],
)
def test_window(centers: Any, widths: Any) -> None:
    """The first window that is one is applied; a null or a width of nothing is none."""
    assert np.abs(shown(WindowCenter=centers, WindowWidth=widths) - window(STORED, 1000, 800)).max() < 1e-3


@pytest.mark.parametrize(("center", "width"), [("", ""), (None, 400), (100, 0), (100, -5), ("nan", 100)])
def test_no_window_at_all(center: Any, width: Any) -> None:
    """What is no window is passed over."""
    file = shown(WindowCenter=center, WindowWidth=width) if center != "nan" else shown()
    np.testing.assert_allclose(file, STORED / 4095, atol=1e-4)


def test_functions() -> None:
    """Exact and sigmoid windows have formulas of their own."""
    exact = shown(WindowCenter=1000, WindowWidth=800, VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_allclose(exact, ((STORED - 1000) / 800 + 0.5).clip(0, 1), atol=1e-4)
    sigmoid = shown(WindowCenter=1000, WindowWidth=800, VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-4 * (STORED - 1000) / 800)), atol=1e-4)


@pytest.mark.parametrize("slope", [1.0, 2.5, -1.0, -0.5])
def test_rescale_comes_first(slope: float) -> None:
    """A window is of rescaled values, and a negative slope turns the picture around."""
    values = STORED * slope + 100
    tags = {"RescaleSlope": slope, "RescaleIntercept": 100}
    center = 100 + 2000 * slope
    windowed = shown(WindowCenter=center, WindowWidth=900, **tags)
    np.testing.assert_allclose(windowed, window(values, center, 900), atol=2e-3)
    plain = STORED / 4095
    np.testing.assert_allclose(shown(**tags), plain if slope > 0 else 1 - plain, atol=1e-4)


def test_polarity_comes_last() -> None:
    """MONOCHROME1 is turned around after the window, not before."""
    storage = Storage(bits=12, photometric="MONOCHROME1")
    values = 4095 - STORED  # as they are stored
    tags = {"WindowCenter": 3000, "WindowWidth": 500}
    np.testing.assert_allclose(shown(storage, **tags), 1 - window(values, 3000, 500), atol=1e-3)


def test_signed() -> None:
    """Values below zero are what they are."""
    values = STORED - 2048
    tags = {"WindowCenter": -500, "WindowWidth": 300}
    np.testing.assert_allclose(shown(Storage(bits=12, signed=True), **tags), window(values, -500, 300), atol=2e-3)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, TWELVE.syntax])
def test_voi_table(syntax: str) -> None:
    """A table of values of interest goes before a window; values outside get its first or last entry."""
    entries = [int(40000 * (i / 1023) ** 2) for i in range(1024)]
    expected = np.asarray(entries)[(STORED - 500).clip(0, 1023).astype(int)] / 40000
    item = table(entries, 500, 16)
    tags = {"VOILUTSequence": [item], "WindowCenter": 7, "WindowWidth": 9}
    np.testing.assert_allclose(shown(Storage(syntax, 12), **tags), expected, atol=1e-3)


def test_modality_table() -> None:
    """A modality table says what values mean, of which a window is then taken."""
    entries = [4095 - i for i in range(4096)]
    item = table(entries, 0, 12)
    np.testing.assert_allclose(shown(ModalityLUTSequence=[item]), 1 - STORED / 4095, atol=1e-4)
    windowed = shown(ModalityLUTSequence=[item], WindowCenter=1000, WindowWidth=800)
    np.testing.assert_allclose(windowed, window(4095 - STORED, 1000, 800), atol=1e-3)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding(photometric: str) -> None:
    """What stands for no pixel is the darkest, whatever the polarity, and does not count in the range."""
    picture = RAMP // 64 * 16  # values of 10 bits
    picture[:16] = 4095 * 16
    storage = Storage(bits=12, photometric=photometric)
    value = 0 if photometric == "MONOCHROME1" else 4095
    pixels = shown(storage, picture, PixelPaddingValue=value)
    assert pixels[:16].max() == 0
    assert pixels[16:].max() > (0.2 if photometric == "MONOCHROME1" else 0.9)
    limits = {"PixelPaddingValue": value, "PixelPaddingRangeLimit": abs(value - 100)}
    assert shown(storage, picture, **limits)[:16].max() == 0


def test_bits_of_others() -> None:
    """Bits beside those of the value, an overlay's for one, are passed over; a value may lie in the upper bits."""
    file = dicom((STORED * 65535 / 4095).round().astype(np.uint16), TWELVE)
    start = len(file) - RAMP.nbytes
    stored = np.frombuffer(file[start:], "<u2")
    expected = decode_image(file).pixels
    overlay = file[:start] + (stored | 0x8000).tobytes()
    np.testing.assert_array_equal(decode_image(overlay).pixels, expected)
    high = dicom((STORED * 65535 / 4095).round().astype(np.uint16), TWELVE, HighBit=15)
    shifted = high[: len(high) - RAMP.nbytes] + (stored << 4).tobytes()
    np.testing.assert_array_equal(decode_image(shifted).pixels, expected)


def test_window_that_hides() -> None:
    """A window that shows nothing of the image is not applied, and the reader is told."""
    image = decoded(WindowCenter=50_000, WindowWidth=100)
    assert image.warnings[0] == "the window of its header would show nothing of the image and was not applied"
    np.testing.assert_allclose(image.pixels / 65535, STORED / 4095, atol=1e-4)


def test_flat() -> None:
    """A picture of one tone is that."""
    assert np.ptp(shown(picture=np.full_like(RAMP, 800))) == 0
    assert np.ptp(shown(picture=np.zeros_like(RAMP), WindowCenter=5, WindowWidth=3)) == 0


def test_big_endian_table() -> None:
    """A table in a file of the other byte order is read in that order."""
    entries = list(range(4096))
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 12])
    item.add_new("LUTData", "US", entries)
    pixels = shown(Storage(ExplicitVRBigEndian, 12), VOILUTSequence=[item])
    np.testing.assert_allclose(pixels, STORED / 4095, atol=1e-4)
