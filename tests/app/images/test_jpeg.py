"""JPEG and its kin: each kind is read or named, whatever stands beside the pixels is passed over, damage is damage."""

from __future__ import annotations

import base64
import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.images.decode import decode_image
from app.images.errors import CorruptImageError, ImageTooLargeError, UnsupportedImageError
from tests.app.pictures import jpeg, phantom, segment, with_segments

FILE = jpeg(phantom())
PIXELS = np.asarray(Image.open(io.BytesIO(FILE)))
COLOUR = jpeg(phantom().convert("RGB"), subsampling=0)
RAMP = np.arange(0, 256, 4).reshape(8, 8)
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0Hyc5PTgy"
    "PC4zNDL/yQALCAAIAAgBAREA/8wABgAQEAX/2gAIAQEAAD8A7oj1IBOgBj3w/9k="
)
LOSSLESS = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALCAAIAAgBAREA/8QAFgABAQEAAAAAAAAAAAAAAAAAAwYI/9oACAEBAAEAAM/oiIiJQIiIiJQIiIiJQIiI"
    "iJQIiIiJQIiIiJQIiIiJQIiIiJ//2Q=="
)
EXIF = Image.Exif()
EXIF[0x0112] = 6
SIDEWAYS = b"Exif\0\0" + EXIF.tobytes().removeprefix(b"Exif\0\0")


def frame(file: bytes, **changes: Any) -> bytes:
    """The file with another frame header: `marker`, `bits`, `height`, `width`, `components`, `samplings`."""
    at = file.index(b"\xff\xc0")
    bits, height, width, count = struct.unpack_from("!BHHB", file, at + 4)
    samplings = changes.get("samplings") or [file[at + 11 + 3 * i] for i in range(count)]
    count = changes.get("components", len(samplings))
    samplings = (list(samplings) * (count or 1))[:count]
    content = struct.pack(
        "!BHHB", changes.get("bits", bits), changes.get("height", height), changes.get("width", width), count
    ) + b"".join(bytes([i + 1, sampling, 0]) for i, sampling in enumerate(samplings))
    end = at + 2 + int.from_bytes(file[at + 2 : at + 4], "big")
    return file[:at] + segment(changes.get("marker", 0xC0), content) + file[end:]


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"optimize": True},
        {"restart_marker_blocks": 1},
        {"restart_marker_rows": 1, "progressive": True},
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_ways_of_writing(mode: str, options: dict[str, Any]) -> None:
    """Progressive, with restart markers or with tables of its own: the picture is the same."""
    image = decode_image(jpeg(phantom().convert(mode), **options))
    assert np.abs(image.pixels.astype(int) - np.asarray(phantom())).mean() < 4
    assert image.warnings == ()


def test_extended() -> None:
    """An extended sequential file of 8 bits is read."""
    np.testing.assert_array_equal(decode_image(frame(FILE, marker=0xC1)).pixels, PIXELS)


@pytest.mark.parametrize("network_size", [None, 1, 2])
def test_arithmetic_coding(network_size: int | None) -> None:
    """Arithmetic coding is read."""
    image = decode_image(ARITHMETIC)
    assert np.abs(image.pixels.astype(int) - RAMP).max() <= 4


@pytest.mark.parametrize("network_size", [None, 1, 2])
def test_lossless(network_size: int | None) -> None:
    """A lossless file of 8 bits is read as it is; it cannot be reduced while it is decoded."""
    np.testing.assert_array_equal(decode_image(LOSSLESS, network_size=network_size).pixels, RAMP)


BESIDE = {
    "16 MiB of colour profile": [segment(0xE2, b"ICC_PROFILE\0" + bytes([i, 255]) + bytes(65_519)) for i in range(255)],
    "colour profile cut short": [segment(0xE2, b"ICC_PROFILE\0")],
    "300 comments": [segment(0xFE, bytes(65_533))] * 300,
    "20,000 empty comments": [segment(0xFE, b"")] * 20_000,
    "1,000 pieces of EXIF": [segment(0xE1, b"Exif\0\0" + bytes(9_000))] * 1_000,
    "EXIF that is none": [segment(0xE1, b"Exif\0\0garbage")],
    "EXIF cut short": [segment(0xE1, SIDEWAYS[:12])],
    "EXIF with an orientation of 9": [segment(0xE1, SIDEWAYS.replace(b"\0\6\0", b"\0\t\0"))],
    "XMP that is none": [segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe")],
    "Photoshop's cut short": [segment(0xED, b"Photoshop 3.0\x008BIM\4\4")],
    "Adobe's cut short": [segment(0xEE, b"Adobe")],
    "JFIF's cut short": [segment(0xE0, b"JFIF\0")],
    "index of pictures that is none": [segment(0xE2, b"MPF\0garbage")],
    "all other APPn": [segment(0xE0 + i, bytes(70)) for i in range(16)],
    "markers alone, zeros and padding": [b"\xff\x01", b"\xff\xd0", b"\0\0\0", b"\xff\0", b"\xff\xff\xff"],
}


@pytest.mark.parametrize("name", BESIDE)
def test_beside_the_pixels(name: str) -> None:
    """Profiles, comments and whatever else nobody needs to know is passed over, however long, many or broken."""
    image = decode_image(with_segments(FILE, *BESIDE[name]))
    np.testing.assert_array_equal(image.pixels, PIXELS)
    assert image.warnings == ()


@pytest.mark.parametrize(
    "content", [SIDEWAYS, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'], ids=["EXIF", "XMP"]
)
def test_upright(content: bytes) -> None:
    """Wherever a file says which way is up, it is turned."""
    image = decode_image(with_segments(FILE, segment(0xE1, content), segment(0xE1, b"Exif\0\0later")))
    np.testing.assert_array_equal(image.pixels, np.rot90(PIXELS, -1))
    assert (image.width, image.height) == (80, 64)


HIERARCHICAL = (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
UNREAD = [
    *((frame(FILE, marker=marker, bits=12), "JPEG of 12 bits") for marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)),
    *((frame(FILE, marker=0xC3, bits=bits), f"lossless JPEG of {bits} bits") for bits in (2, 7, 9, 10, 12, 14, 16)),
    (frame(FILE, marker=0xCB), "lossless JPEG with arithmetic coding"),
    *((frame(FILE, marker=marker), "hierarchical JPEG") for marker in HIERARCHICAL),
    (with_segments(FILE, segment(0xDE, bytes([8, 0, 80, 0, 64, 1, 1, 0x11, 0]))), "hierarchical JPEG"),
    (frame(FILE, marker=0xF7, bits=8), "JPEG-LS"),
    (frame(FILE, marker=0xF7, bits=12), "JPEG-LS"),
    (frame(FILE, marker=0xC8), "extension"),
    (with_segments(FILE, segment(0xF8, b"\r\0")), "extension"),
    (frame(FILE, components=2), "JPEG of 2 components"),
    (frame(FILE, components=5), "JPEG of 5 components"),
    (frame(COLOUR, samplings=[0x31, 0x21, 0x11]), "fractional sampling"),
    (frame(COLOUR, samplings=[0x12, 0x13, 0x11]), "fractional sampling"),
    (frame(FILE, height=0)[:-2] + segment(0xDC, b"\0\x50") + FILE[-2:], "height after its pixels"),
]


@pytest.mark.parametrize(("file", "kind"), UNREAD, ids=[f"{i} {kind}" for i, (_, kind) in enumerate(UNREAD)])
def test_kinds_that_are_not_read(file: bytes, kind: str) -> None:
    """A whole file of a kind that is not read is unsupported, by the name of the kind, and not damaged."""
    with pytest.raises(UnsupportedImageError, match=kind):
        decode_image(file)


FTYP = struct.pack("!I4s", 28, b"ftyp")
FOREIGN = [
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a\x13\x0e", "JPEG XL"),
    (b"II\xbc\1", "JPEG XR"),
    (FTYP + b"heic\0\0\0\0mif1heic", "HEIC"),
    (FTYP + b"mif1\0\0\0\0mif1heic", "HEIC"),
    (FTYP + b"avif\0\0\0\0mif1miaf", "AVIF"),
    (FTYP + b"mif1\0\0\0\0avifmif1", "AVIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"GIF89a", "GIF"),
    (b"BM6<", "BMP"),
    (b"RIFF\0\0\0\0WEBPVP8L", "WebP"),
    (b"\x8aMNG\r\n\x1a\n", "MNG"),
    (b"\x8bJNG\r\n\x1a\n", "JNG"),
    (b"%PDF-1.7", "PDF"),
    (b"PK\3\4", "ZIP"),
]


@pytest.mark.parametrize(("start", "name"), FOREIGN)
def test_other_formats(start: bytes, name: str) -> None:
    """Of another format's file is said which it is."""
    with pytest.raises(UnsupportedImageError, match=f"not PNG, JPEG or DICOM, but {name}$"):
        decode_image(start + bytes(200))


@pytest.mark.parametrize("file", [b"text", FTYP + b"mp42\0\0\0\0mp42isom" + bytes(9), b"\0" * 300])
def test_unknown_formats(file: bytes) -> None:
    """Of what is not recognised nothing is said."""
    with pytest.raises(UnsupportedImageError, match=r"not PNG, JPEG or DICOM$"):
        decode_image(file)


@pytest.mark.parametrize(
    "file",
    [
        frame(FILE, bits=9),
        frame(FILE, bits=0),
        frame(FILE, marker=0xC3, bits=17),
        frame(FILE, height=0),
        frame(FILE, width=0),
        frame(FILE, components=0),
        frame(FILE, samplings=[0]),
        frame(FILE, samplings=[0x15]),
        FILE.replace(b"\xff\xc0\0\x0b", b"\xff\xc0\0\x0c"),
        FILE[: FILE.index(b"\xff\xc0")] + FILE[FILE.index(b"\xff\xc0") + 13 :],
        with_segments(FILE, b"\xff\xd8"),
        with_segments(FILE, b"\xff\xd9"),
        with_segments(FILE, b"\xff\xfe\0\1"),
        with_segments(FILE, segment(0x02, b"")),
        FILE[:2] + segment(0xFE, b"only"),
        FILE[:-2],
        FILE[:-9],
        FILE[:3],
    ],
)
def test_damage(file: bytes) -> None:
    """A file whose parts are not those of a JPEG is damaged."""
    with pytest.raises(CorruptImageError):
        decode_image(file)


def test_longest_side() -> None:
    """A side longer than libjpeg takes is too large, not damaged."""
    assert decode_image(frame(FILE, width=65_500, height=1)).width == 65_500
    with pytest.raises(ImageTooLargeError, match="65500"):
        decode_image(frame(FILE, width=65_501, height=1))
