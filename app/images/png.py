"""PNG (ISO 15948): what a file's pixels depend on, and nothing else.

Pillow calls a file broken that holds more text or a larger colour profile than it likes, passes over the checksums of
pixels, and takes a transparent colour for what it is in 1, 8 and no other number of bits. So it is given header,
palette and pixels alone, the latter unpacked of most films; checksums and colours are looked at here.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from PIL import Image, ImageChops, ImageFile

from app.images.errors import CorruptImageError, UnsupportedImageError
from app.images.inflate import stored
from app.images.opened import MAX_METADATA_BYTES, Mask, Opened, check_size

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_GREY, _RGB, _PALETTE, _GREY_ALPHA = 0, 2, 3, 4
_CHUNK = struct.Struct("!I4s")
_HEADER = struct.Struct("!IIBB3s")  # width, height, bits, colour; how it is packed, filtered and interlaced
_ANCILLARY = 0x20  # this bit of a name's first letter: those who do not know the chunk may pass over it


# Unpacked here is what most films are, by bits and colour: Pillow's mode, its name for that in a file, bytes a pixel;
# if they are not interlaced, and so many bytes at most, for these are held three times meanwhile.
_QUICK = {(8, _GREY): ("L", "L", 1), (16, _GREY): ("I;16", "I;16B", 2), (8, _RGB): ("RGB", "RGB", 3)}
_QUICK_BYTES, _PLAIN = 2**24, bytes(3)


class _Chunk(NamedTuple):
    """`start` and `end` enclose length, name, data and checksum."""

    name: bytes
    data: memoryview
    start: int
    end: int


@dataclass
class _Parts:
    """What was found in a file. `kept` are the pieces of it that Pillow gets, as first and last byte; `pixels` are
    packed."""

    kept: list[tuple[int, int]] = field(default_factory=list)
    key: bytes | None = None
    metadata: dict[str, bytes | str] = field(default_factory=dict)
    frames: int = 1
    pixels: list[memoryview] = field(default_factory=list)

    def keep(self, chunk: _Chunk) -> None:
        if self.kept and self.kept[-1][1] == chunk.start:
            self.kept[-1] = (self.kept[-1][0], chunk.end)
        else:
            self.kept.append((chunk.start, chunk.end))


def open_png(data: bytes, max_pixels: int) -> Opened:
    """Looks through a PNG file. Raises `CorruptImageError`, `UnsupportedImageError`, `ImageTooLargeError`, or what
    Pillow raises."""
    chunks = _chunks(data)
    header = next(chunks)
    if header.name == b"CgBI":
        raise UnsupportedImageError("the file is a PNG in Apple's own form (CgBI), which is not read")
    if header.name != b"IHDR" or len(header.data) != 13:
        raise CorruptImageError("the file is damaged: it does not begin with a PNG header")
    width, height, bits, colour, ways = _HEADER.unpack(header.data)
    parts = _Parts(kept=[(0, header.end)])
    for chunk in chunks:
        _take(chunk, colour, parts)
    check_size(width, height, max_pixels)
    paired = (bits, colour) == (16, _GREY_ALPHA)
    image: Image.Image | None = None
    slim = b""
    if (bits, colour) in _QUICK and ways == _PLAIN:
        image = _unpacked(width, height, *_QUICK[bits, colour], parts.pixels)
    if image is None:
        view = memoryview(data)
        slim = b"".join(view[start:end] for start, end in parts.kept)
        image = file = _pillow(slim)
        if paired:
            _load_as(file, "RGBA")
    transparent = partial(_has_colour, slim, image, bits, parts.key) if parts.key else None
    return Opened(image, parts.frames, parts.metadata, paired=paired, transparent=transparent)


def _unpacked(
    width: int, height: int, mode: str, raw_mode: str, pixel_bytes: int, packed: list[memoryview]
) -> Image.Image | None:
    """The picture of packed pixels, loaded; None where it is left to Pillow."""
    size = height * (1 + width * pixel_bytes)
    if size > _QUICK_BYTES:
        return None
    pixels = stored(b"".join(packed), size)
    return Image.frombytes(mode, (width, height), pixels, "zip", raw_mode) if pixels and width else None


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """The file's chunks up to its end, whose checksums fit."""
    view, start, name = memoryview(data), len(SIGNATURE), b""
    while name != b"IEND":
        if start + 12 > len(data):
            raise CorruptImageError("the file is damaged or incomplete: it ends before its last chunk")
        length, name = _CHUNK.unpack_from(data, start)
        end = start + 12 + length
        if not name.isalpha():
            raise CorruptImageError("the file is damaged: something that is no chunk lies between its chunks")
        if end > len(data):
            raise CorruptImageError("the file is damaged or incomplete: a chunk reaches beyond its end")
        if isal_zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise CorruptImageError("the file is damaged: a checksum does not fit")
        yield _Chunk(name, view[start + 8 : end - 4], start, end)
        start = end


def _take(chunk: _Chunk, colour: int, parts: _Parts) -> None:
    match chunk.name:
        case b"IDAT":
            parts.pixels.append(chunk.data)
            parts.keep(chunk)
        case b"IEND":
            if not parts.pixels:
                raise CorruptImageError("the file is damaged: it holds no pixels")
            parts.keep(chunk)
        case b"PLTE":
            parts.keep(chunk)
        case b"tRNS":
            if colour == _PALETTE:
                parts.keep(chunk)
            elif colour in (_GREY, _RGB):
                parts.key = bytes(chunk.data[: 2 if colour == _GREY else 6])
                if len(parts.key) < (2 if colour == _GREY else 6):
                    raise CorruptImageError("the file is damaged: its transparent colour cannot be right")
        case b"fcTL":
            parts.frames += bool(parts.pixels)  # what comes before the picture is of it
        case b"eXIf":
            parts.metadata["exif"] = bytes(chunk.data[:MAX_METADATA_BYTES])
        case b"iTXt" | b"zTXt" | b"tEXt":
            _read_text(chunk, parts.metadata)
        case name if not name[0] & _ANCILLARY:
            if name == b"IHDR":
                raise CorruptImageError("the file is damaged: it has two headers")
            raise UnsupportedImageError("the file is a PNG with a critical chunk that is not read")


def _read_text(chunk: _Chunk, metadata: dict[str, bytes | str]) -> None:
    """Keeps the two texts that may say which way is up: XMP, and what ImageMagick makes of EXIF."""
    key, _, rest = bytes(chunk.data[:MAX_METADATA_BYTES]).partition(b"\0")
    if chunk.name == b"iTXt" and key == b"XML:com.adobe.xmp":
        packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
        metadata["xmp"] = _inflate(text) if packed else text
    elif chunk.name != b"iTXt" and key == b"Raw profile type exif":
        text = rest if chunk.name == b"tEXt" else _inflate(rest[1:])
        metadata["Raw profile type exif"] = text.decode("latin-1")


def _inflate(data: bytes) -> bytes:
    """The beginning of a compressed text; of a broken one nothing."""
    try:
        return zlib.decompressobj().decompress(data, MAX_METADATA_BYTES)
    except zlib.error:
        return b""


def _pillow(slim: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(slim), formats=["PNG"])


def _load_as(image: ImageFile.ImageFile, rawmode: str) -> None:
    """What the bytes of a pixel are taken for when the image is loaded."""
    image.tile = [tile._replace(args=rawmode) for tile in image.tile]


def _has_colour(slim: bytes, image: Image.Image, bits: int, key: bytes) -> Mask:
    """Where the loaded `image` has the colour `key`, all bits compared."""
    wanted = np.frombuffer(key, ">u2") & (2**bits - 1)
    if len(wanted) == 1:
        scale = 1 if bits in (1, 16) else 255 // (2**bits - 1)
        return np.asarray(np.asarray(image) == wanted[0] * scale)
    same = _same(image, wanted >> (bits - 8))
    if bits == 16:  # an image has the upper bytes only
        lower = _pillow(slim)
        _load_as(lower, "RGB;16L")
        same = ImageChops.darker(same, _same(lower, wanted & 255))
    return np.asarray(same) > 0


def _same(image: Image.Image, colour: npt.NDArray[np.unsignedinteger[Any]]) -> Image.Image:
    """255 where an image of three bands has the colour, else 0: in Pillow, for it takes a third of numpy's memory."""
    bands = [
        band.point([255 * (level == wanted) for level in range(256)])
        for band, wanted in zip(image.split(), colour.tolist(), strict=True)
    ]
    return reduce(ImageChops.darker, bands)
