"""Decoding: every kind of file gives the grey picture it shows, every broken one a `DecodeError`."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.images.decode import decode_image
from app.images.errors import CorruptImageError, DecodeError, ImageTooLargeError, UnsupportedImageError
from tests.app.pictures import chunk, claiming, jpeg, phantom, phantom16, png, with_chunk

GREY = np.asarray(phantom())


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_8_bit_modes(mode: str) -> None:
    """However an opaque grey picture is stored, its pixels are the same."""
    image = decode_image(png(phantom().convert(mode)))
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, GREY)
    assert image.warnings == ()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_span_the_whole_range(bits: int) -> None:
    """One, two and four bits of grey reach from black to white."""
    levels = np.arange(2**bits, dtype=np.uint8)
    row = np.packbits(np.unpackbits(levels[:, None], axis=1)[:, 8 - bits :].reshape(-1)).tobytes()
    header = len(levels).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes([bits, 0, 0, 0, 0])
    file = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(decode_image(file).pixels[0], np.linspace(0, 255, 2**bits).round())


def test_16_bit_is_kept() -> None:
    """Sixteen bits stay sixteen bits: nothing above 255 is clipped to white."""
    image = decode_image(png(Image.fromarray(phantom16())))
    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels, phantom16())


def test_jpeg() -> None:
    """A JPEG's pixels are those it was made of, as far as the format keeps them."""
    image = decode_image(jpeg(phantom()))
    assert image.format == "JPEG"
    assert np.abs(image.pixels.astype(int) - GREY).mean() < 4


def test_cmyk_is_not_inverted() -> None:
    """A CMYK JPEG is as bright as the grey picture it was made of."""
    image = decode_image(jpeg(phantom().convert("CMYK")))
    assert np.abs(image.pixels.astype(int) - GREY).mean() < 4


def test_interlaced() -> None:
    """Adam7 changes nothing."""
    # One pass of one pixel: pass 1 of a 1x1 interlaced picture.
    header = (1).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 1])
    file = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\x7b")) + chunk(b"IEND", b"")
    )
    assert decode_image(file).pixels.tolist() == [[123]]


def test_transparency_is_over_black() -> None:
    """What is transparent is black, as around a collimated film, and said so."""
    picture = Image.merge("LA", (Image.new("L", (4, 2), 200), Image.new("L", (4, 2), 0)))
    picture.putpixel((0, 0), (200, 255))
    image = decode_image(png(picture))
    assert image.pixels.tolist() == [[200, 0, 0, 0], [0, 0, 0, 0]]
    assert image.warnings == ("transparent parts of the image were taken as black",)


def test_colour_is_said() -> None:
    """A picture with hues is converted, with a warning; the chroma noise of a grey JPEG is no hue."""
    coloured = decode_image(png(Image.new("RGB", (32, 32), (200, 30, 30))))
    assert coloured.warnings == ("the image is in colour; it was converted to grey",)
    assert decode_image(jpeg(phantom().convert("RGB"), quality=30)).warnings == ()


UPRIGHT: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("bits", [8, 16])
def test_orientation_is_applied(orientation: int, bits: int) -> None:
    """A picture is turned the way its EXIF says, and so are width and height."""
    stored = phantom16() if bits == 16 else GREY
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(png(Image.fromarray(stored), exif=exif))
    expected = UPRIGHT[orientation](stored)
    np.testing.assert_array_equal(image.pixels, expected)
    assert (image.height, image.width) == expected.shape


@pytest.mark.parametrize(("network_size", "expected"), [(None, (1600, 1200)), (300, (800, 600)), (100, (200, 150))])
def test_large_jpeg_is_reduced(network_size: int | None, expected: tuple[int, int]) -> None:
    """A JPEG comes no smaller than twice the network's input, and its size is still the file's."""
    image = decode_image(jpeg(phantom(1600, 1200)), network_size=network_size)
    assert image.pixels.shape == expected
    assert (image.height, image.width) == (1600, 1200)


def test_reduced_jpeg_looks_the_same() -> None:
    """Reducing while decoding is averaging: the fast path equals the slow one."""
    y, x = np.mgrid[:1600, :1200]
    smooth = Image.fromarray((127 + 60 * np.sin(x / 90) + 60 * np.cos(y / 130)).astype(np.uint8))
    reduced = decode_image(jpeg(smooth), network_size=100).pixels
    averaged = np.asarray(smooth.reduce(8))
    assert np.abs(reduced.astype(int) - averaged).max() <= 2


def test_file_is_described() -> None:
    """Format, size and hash are the file's."""
    file = png(phantom())
    image = decode_image(file)
    assert (image.format, image.width, image.height) == ("PNG", 64, 80)
    assert image.sha256 == hashlib.sha256(file).hexdigest()


def test_small_image_is_said() -> None:
    """An image smaller than what the network looks at comes with a warning."""
    assert "small (64x80)" in decode_image(png(phantom()), network_size=224).warnings[0]


def test_first_frame_of_an_animation() -> None:
    """Of several frames the first is used, with a warning."""
    file = png(phantom(), save_all=True, append_images=[phantom(shift=1)])
    image = decode_image(file)
    np.testing.assert_array_equal(image.pixels, GREY)
    assert image.warnings == ("the file holds several frames; the first was used",)


def test_first_picture_of_an_mpo() -> None:
    """A JPEG with further pictures inside (MPO) is read as its first."""
    file = io.BytesIO()
    phantom().save(file, "MPO", save_all=True, append_images=[phantom(shift=1)], quality=95)
    image = decode_image(file.getvalue())
    assert np.abs(image.pixels.astype(int) - GREY).mean() < 4
    assert image.warnings == ("the file holds several frames; the first was used",)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats(kind: str) -> None:
    """Other formats are refused as unsupported, whatever they are called."""
    file = io.BytesIO()
    phantom().save(file, kind)
    with pytest.raises(UnsupportedImageError):
        decode_image(file.getvalue())


@pytest.mark.parametrize("file", [b"hello", b"%PDF-1.7", b"\x89PNG"])
def test_no_image(file: bytes) -> None:
    """What is no image is unsupported."""
    with pytest.raises(UnsupportedImageError):
        decode_image(file)


def test_empty() -> None:
    """An empty file is a damaged one."""
    with pytest.raises(CorruptImageError):
        decode_image(b"")


@pytest.mark.parametrize("make", [png, jpeg])
def test_too_large(make: Callable[[Image.Image], bytes]) -> None:
    """More pixels than allowed are refused."""
    with pytest.raises(ImageTooLargeError):
        decode_image(make(phantom()), max_pixels=80 * 64 - 1)


@pytest.mark.parametrize("side", [8_000, 12_000, 2**31 - 1])
def test_pixel_bomb(side: int) -> None:
    """A header that claims a huge picture is refused before any pixel exists."""
    with pytest.raises(ImageTooLargeError):
        decode_image(claiming(png(phantom()), side, side))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64 * 2**20))),
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(64 * 2**20))),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(64 * 2**20))),
    ],
)
def test_metadata_bomb(name: bytes, data: bytes) -> None:
    """Compressed text and colour profiles are inflated up to a bound only."""
    try:
        image = decode_image(with_chunk(png(phantom()), name, data))
    except CorruptImageError:
        return
    np.testing.assert_array_equal(image.pixels, GREY)


def test_flipped_bit() -> None:
    """A single wrong bit in the pixels of a PNG does not pass as anatomy."""
    file = bytearray(png(phantom()))
    file[file.index(b"IDAT") + 40] ^= 1
    with pytest.raises(CorruptImageError):
        decode_image(bytes(file))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_truncation(data: st.DataObject) -> None:
    """A file cut short before its end marker is damaged, or no image at all."""
    file = data.draw(st.sampled_from([png(phantom()), png(Image.fromarray(phantom16())), jpeg(phantom())]))
    cut = data.draw(st.integers(0, len(file) - 5))
    with pytest.raises(DecodeError):
        decode_image(file[:cut])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_never_escapes(data: st.DataObject) -> None:
    """Whatever happens to a file's bytes, it decodes or raises a `DecodeError`."""
    kinds = [png(phantom()), png(phantom().convert("P")), jpeg(phantom()), jpeg(phantom().convert("CMYK"))]
    file = bytearray(data.draw(st.sampled_from(kinds)))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(file) - 1))
        file[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        if not file:
            break
    with suppress(DecodeError):
        decode_image(bytes(file))
