"""Hostile and broken files, made here from good ones: the same ones every time for the same seed."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice

from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.app import dicom_bombs
from tests.app.dicom_phantoms import Storage, dicom
from tests.app.pictures import chunk, claiming, jpeg, phantom, phantom16, png, with_chunk

_MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Specimen:
    """One file, and what was done to it."""

    kind: str
    fault: str
    data: bytes


def corpus(count: int, seed: int = 1) -> Iterator[Specimen]:
    """First every bomb, then `count` files less the bombs: each kind in turn, each with the next kind of damage."""
    rng = random.Random(seed)
    bombs = list(_bombs())
    yield from bombs
    damages = cycle(_DAMAGES.items())
    originals = cycle(_originals())
    for (kind, data), (fault, damage) in islice(zip(originals, damages, strict=False), count - len(bombs)):
        yield Specimen(kind, fault, damage(data, rng))


def _originals() -> list[tuple[str, bytes]]:
    """Good files of each format; their number and that of the damages have no common factor, so that all pairs come."""
    grey = phantom(120, 90)
    exif = Image.Exif()
    exif[0x0112] = 6
    other = phantom(120, 90, shift=5)
    rgba = grey.convert("RGBA")
    rgba.putalpha(other)
    frames = {"save_all": True, "append_images": [other]}
    return [
        ("PNG", png(grey)),
        ("JPEG", jpeg(grey, exif=exif)),
        ("TIFF", _saved(grey, "TIFF", compression="tiff_deflate")),
        ("GIF", _saved(grey, "GIF", **frames)),
        ("BMP", _saved(grey, "BMP")),
        ("PNG", png(Image.fromarray(phantom16(120, 90)))),
        ("JPEG", jpeg(grey.convert("CMYK"))),
        ("WebP", _saved(grey, "WEBP")),
        (
            "SVG",
            b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>',
        ),
        ("PNG", png(rgba, icc_profile=bytes(3000))),
        ("PDF", _saved(grey, "PDF")),
        ("JPEG", jpeg(grey.convert("RGB"), progressive=True)),
        ("ZIP", _zip(png(grey))),
        ("PNG", png(grey.convert("P"), **frames)),
        ("text", b"A study is sent as PNG or JPEG.\n" * 40),
        ("TIFF", _saved(phantom(120, 90, shift=9), "TIFF", save_all=True, append_images=[phantom(120, 90)])),
        ("PNG", png(grey.convert("1"))),
        ("DICOM", dicom(phantom16(120, 90), Storage(RLELossless, 12), PatientName="DOE")),
        ("DICOM", dicom(phantom16(120, 90), Storage(ImplicitVRLittleEndian, 16, signed=True), PatientName="DOE")),
        ("DICOM", dicom(phantom16(120, 90), Storage(JPEGLosslessSV1), PatientName="DOE")),
        ("DICOM", dicom(phantom16(120, 90), Storage(JPEGLSLossless), PatientName="DOE")),
        ("DICOM", dicom(phantom16(120, 90), Storage(JPEG2000Lossless), PatientName="DOE")),
        ("DICOM", dicom(phantom16(120, 90), Storage(DeflatedExplicitVRLittleEndian, 10), PatientName="DOE")),
    ]


def _saved(image: Image.Image, kind: str, **parameters: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **parameters)
    return file.getvalue()


def _zip(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../x.png", data)
        archive.writestr("zeros", bytes(4 * _MEBIBYTE))
    return file.getvalue()


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _flip_bits(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 8, 64))):
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _overwrite(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(rng.randrange(1, 200)) + data[start + 100 :]


def _cut_out(data: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:end] + data[start:end] * rng.randrange(1, 20) + data[end:]


def _lie_in_the_header(data: bytes, rng: random.Random) -> bytes:
    """Another number where formats have their sizes: within the first bytes, or in PNG's and JPEG's own places."""
    number = rng.choice((0, 1, 65_535, 2**24, 2**31 - 1, 2**32 - 1))
    if data.startswith(b"\x89PNG") and rng.random() < 0.7:
        return claiming(data, number, rng.choice((1, 120, number)))
    if data.startswith(b"\xff\xd8"):
        frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        return data[: frame + 5] + struct.pack("!HH", number & 0xFFFF, 65_535) + data[frame + 9 :]
    start = rng.randrange(132, 1500) if data[128:132] == b"DICM" else rng.randrange(4, 40)
    return data[:start] + struct.pack(rng.choice("<>") + "I", number) + data[start + 4 :]


def _dress_as_another(data: bytes, rng: random.Random) -> bytes:
    """A PNG's or JPEG's beginning before whatever it is."""
    return rng.choice((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", png(phantom())[:60], jpeg(phantom())[:300])) + data


def _append(data: bytes, rng: random.Random) -> bytes:
    """Two files in one: allowed by both formats."""
    return data + rng.choice((_zip(b"x"), b"<script>", b"\0" * 70_000, data))


_DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": _truncate,
    "bits flipped": _flip_bits,
    "overwritten": _overwrite,
    "cut out": _cut_out,
    "repeated": _repeat,
    "header lies": _lie_in_the_header,
    "dressed as another": _dress_as_another,
    "appended to": _append,
}


def _bombs() -> Iterator[Specimen]:
    """Small files that ask for much."""
    small, zeros = png(phantom()), zlib.compress(bytes(64 * _MEBIBYTE), 9)
    for width, height in ((6_300, 6_300), (40_000_000, 1), (1, 40_000_000)):
        yield Specimen("PNG", "bomb of pixels", _flat_png(width, height))
    for side in (6_350, 12_000, 60_000, 2**31 - 1):
        yield Specimen("PNG", "bomb of pixels", claiming(_flat_png(6_300, 6_300), side, side))
    yield Specimen("PNG", "bomb of pixels", _flat_png(6_300, 6_300, bits=16, colour=6))
    yield Specimen("JPEG", "bomb of pixels", jpeg(Image.new("L", (6_300, 6_300))))
    yield Specimen("JPEG", "bomb of pixels", jpeg(Image.new("L", (6_300, 6_300)), progressive=True))
    yield Specimen("PNG", "bomb of zlib", small[:33] + chunk(b"IDAT", zeros) + chunk(b"IEND", b""))
    yield Specimen("PNG", "bomb of zlib", small[:33] + chunk(b"IDAT", zeros) * 20 + chunk(b"IEND", b""))
    for name, head in ((b"zTXt", b"c\0\0"), (b"iTXt", b"c\0\1\0\0\0")):
        yield Specimen("PNG", "bomb of text chunks", with_chunk(small, name, head + zeros))
        many = b"".join(chunk(name, b"%d" % i + head + zlib.compress(bytes(_MEBIBYTE - 9))) for i in range(60))
        yield Specimen("PNG", "bomb of text chunks", small[:33] + many + small[33:])
    yield Specimen("PNG", "bomb of text chunks", small[:33] + chunk(b"tEXt", b"c\0x") * 300_000 + small[33:])
    yield Specimen("PNG", "bomb of ICC profiles", with_chunk(small, b"iCCP", b"p\0\0" + zeros))
    yield Specimen("PNG", "bomb of ICC profiles", small[:33] + chunk(b"iCCP", b"p\0\0" + zeros) * 40 + small[33:])
    segment = b"\xff\xe2\xff\xffICC_PROFILE\0\1\xff" + bytes(65_519)
    picture = jpeg(phantom())
    yield Specimen("JPEG", "bomb of ICC profiles", picture[:2] + segment * 255 + picture[2:])
    yield Specimen("JPEG", "bomb of scans", _many_scans(2_000, 3_000))
    yield Specimen("PNG", "bomb of frames", with_chunk(small, b"acTL", struct.pack("!II", 2**31 - 1, 0)))
    yield Specimen("ZIP", "bomb of zlib", _zip(bytes(64 * _MEBIBYTE)))
    for name, file in dicom_bombs.bombs():
        yield Specimen("DICOM", f"bomb: {name}", file)
    svg = b'<!DOCTYPE s [<!ENTITY a "' + b"a" * 1000 + b'"><!ENTITY b "' + b"&a;" * 1000 + b'">]><svg>&b;</svg>'
    yield Specimen("SVG", "bomb of entities", svg)


@cache
def _flat_png(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    """A black picture: a few kilobytes, however large."""
    row = 1 + width * {0: 1, 6: 4}[colour] * bits // 8
    header = struct.pack("!IIBBBBB", width, height, bits, colour, 0, 0, 0)
    pixels = zlib.compress(bytes(row * height), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes thousands of times: each is a pass over the whole picture."""
    picture = jpeg(Image.new("L", (side, side), 99), progressive=True)
    last = picture.rindex(b"\xff\xda")
    return picture[:last] + picture[last:-2] * scans + picture[-2:]
