"""Images made by formula, and the files they are sent as."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def phantom(height: int = 80, width: int = 64, shift: int = 0) -> Image.Image:
    """A grey picture with a gradient, no two rows or columns alike; `shift` makes another one."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(((2 * y + x + 37 * shift) % 251).astype(np.uint8))


def phantom16(height: int = 80, width: int = 64) -> npt.NDArray[np.uint16]:
    """16 bits of grey, most of them above 255."""
    y, x = np.mgrid[:height, :width]
    picture: npt.NDArray[np.uint16] = (600 * y + 200 * x).astype(np.uint16)
    return picture


def film(height: int = 500, width: int = 400, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Much like a chest film: a body between black corners, two dark lungs, and grain."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    rng = np.random.default_rng(seed)
    body = 170 * (np.abs(x) < 0.75 + 0.2 * y + 0.05 * rng.random())
    lungs = sum(np.exp(-((((x - side) / 0.3) ** 2 + ((y + 0.1) / 0.6) ** 2) ** 2)) for side in (-0.4, 0.4))
    picture = 12 + body * (1 - 0.7 * lungs) + rng.normal(0, 6, y.shape)
    return np.asarray(picture.clip(0, 255), np.uint8)


def png(image: Image.Image, **parameters: Any) -> bytes:
    return _saved(image, "PNG", **parameters)


def jpeg(image: Image.Image, **parameters: Any) -> bytes:
    return _saved(image, "JPEG", **{"quality": 95, **parameters})


def _saved(image: Image.Image, kind: str, **parameters: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **parameters)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk with its right checksum."""
    return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))


def with_chunk(file: bytes, name: bytes, data: bytes) -> bytes:
    """A PNG file with one more chunk behind its header."""
    return file[:33] + chunk(name, data) + file[33:]


def raw_png(bits: int, colour: int, width: int, rows: list[bytes], *extra: bytes, interlace: int = 0) -> bytes:
    """A PNG file of these rows, for what Pillow does not write; `extra` chunks stand before the pixels."""
    header = struct.pack("!IIBBBBB", width, len(rows), bits, colour, 0, 0, interlace)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def segment(marker: int, content: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack("!BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(file: bytes, *segments: bytes) -> bytes:
    """A JPEG file with more at its beginning."""
    return file[:2] + b"".join(segments) + file[2:]


def claiming(file: bytes, width: int, height: int) -> bytes:
    """A PNG file whose header claims another size."""
    return file[:8] + chunk(b"IHDR", struct.pack("!II", width, height) + file[24:29]) + file[33:]
