"""JPEG (ITU-T T.81): what a file's pixels depend on, and nothing else.

Whole files of kinds that libjpeg does not read end there like damaged ones, and Pillow trips over segments that it has
no need of. So the segments before the first scan are looked through here: the kind is named, and profiles, thumbnails
and comments are left out.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from app.images.errors import CorruptImageError, ImageTooLargeError, UnsupportedImageError
from app.images.opened import Opened, check_size

SIGNATURE = b"\xff\xd8\xff"

MAX_SIDE = 65_500
"""libjpeg's limit; the format's own is 65,535."""

_SCAN, _COMMENT = 0xDA, 0xFE
_LOSSLESS = 0xC3
_FRAMES = (0xC0, 0xC1, 0xC2, _LOSSLESS, 0xC9, 0xCA)  # Huffman or arithmetic; baseline, extended, progressive
_TABLES = (0xC4, 0xCC, 0xDB, 0xDC, 0xDD)
_ALONE = (0x01, *range(0xD0, 0xD8))  # markers without a segment
_UNREAD = {
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE, 0xDF), "hierarchical JPEG"),
    0xCB: "lossless JPEG with arithmetic coding",
    0xC8: "JPEG with an extension",
    **dict.fromkeys(range(0xF0, 0xFE), "JPEG with an extension"),
    0xF7: "JPEG-LS file",
}
# APP0 and APP14: without them the colours would be guessed.
_COLOURS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
_EXIF, _XMP, _PICTURES = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"MPF\0"
_NUMBER_OF_PICTURES = 0xB001  # CIPA DC-007


class Segment(NamedTuple):
    """A marker and what belongs to it; `start` and `end` enclose marker, length and content."""

    marker: int
    content: memoryview
    start: int
    end: int


def open_jpeg(data: bytes, max_pixels: int) -> Opened:
    """Looks through a JPEG file. Raises `CorruptImageError`, `UnsupportedImageError`, `ImageTooLargeError`, or what
    Pillow raises."""
    view = memoryview(data)
    kept, frame, frames = [view[:2]], 0, 1
    metadata: dict[str, bytes | str] = {}
    for marker, content, start, end in segments(data):
        if marker in _UNREAD:
            raise UnsupportedImageError(f"the file is a {_UNREAD[marker]}, which is not read")
        if marker in _FRAMES:
            _check_frame(marker, content, data)
            frame = marker
        if marker in _FRAMES or marker in _TABLES or _tells_colours(marker, content):
            kept.append(view[start:end])
        elif marker == _SCAN:
            if not frame:
                raise CorruptImageError("the file is damaged: its pixels have no header")
            kept.append(view[start:])
        elif marker == 0xE1 and content[:6] == _EXIF:
            metadata.setdefault("exif", bytes(content))
        elif marker == 0xE1 and content[: len(_XMP)] == _XMP:
            metadata.setdefault("xmp", bytes(content[len(_XMP) :]))
        elif marker == 0xE2 and content[:4] == _PICTURES:
            frames = _count_pictures(bytes(content[4:]))
    image = Image.open(io.BytesIO(b"".join(kept)), formats=["JPEG"])
    check_size(*image.size, max_pixels)
    return Opened(image, frames, metadata, scalable=frame != _LOSSLESS)


def segments(data: bytes) -> Iterator[Segment]:
    """The segments up to the first scan's, which is the last. Raises `CorruptImageError`."""
    view, start, marker = memoryview(data), 2, 0
    while marker != _SCAN:
        start = data.find(b"\xff", start)
        while data[start + 1 : start + 2] == b"\xff" and start >= 0:
            start += 1
        if start < 0 or start + 4 > len(data):
            raise CorruptImageError("the file is damaged or incomplete: it ends before its pixels")
        marker = data[start + 1]
        if marker == 0 or marker in _ALONE:
            start += 2
            continue
        end = start + 2 + int.from_bytes(view[start + 2 : start + 4], "big")
        if not start + 4 <= end <= len(data) or marker < 0xC0 or marker in (0xD8, 0xD9):
            raise CorruptImageError("the file is damaged or incomplete: a segment before its pixels is broken")
        yield Segment(marker, view[start + 4 : end], start, end)
        start = end


def _check_frame(marker: int, content: memoryview, data: bytes) -> None:
    """Raises what stands against reading the picture that a frame header describes."""
    if len(content) < 9 or len(content) != 6 + 3 * content[5]:
        raise CorruptImageError("the file is damaged: its header cannot be right")
    bits, height, width, components = struct.unpack_from("!BHHB", content)
    kind = "lossless JPEG" if marker == _LOSSLESS else "JPEG"
    if bits != 8:
        if bits != 12 and not (marker == _LOSSLESS and 2 <= bits <= 16):
            raise CorruptImageError("the file is damaged: its header cannot be right")
        raise UnsupportedImageError(f"the file is a {kind} of {bits} bits, which is not read; 8 bits are")
    if components not in (1, 3, 4):
        raise UnsupportedImageError(f"the file is a {kind} of {components} components, which is not read")
    if height == 0 and b"\xff\xdc\0\4" in data:  # DNL
        raise UnsupportedImageError("the file is a JPEG that tells its height after its pixels, which is not read")
    across, down = ([sampling >> 4 for sampling in content[7::3]], [sampling & 15 for sampling in content[7::3]])
    if 0 in (height, width, *across, *down) or max(across + down) > 4:
        raise CorruptImageError("the file is damaged: its header cannot be right")
    if any(max(axis) % sampling for axis in (across, down) for sampling in axis):
        raise UnsupportedImageError("the file is a JPEG with fractional sampling of its colours, which is not read")
    if max(width, height) > MAX_SIDE:
        raise ImageTooLargeError(f"the image has a side of more than {MAX_SIDE} pixels")


def _tells_colours(marker: int, content: memoryview) -> bool:
    name, length = _COLOURS.get(marker, (b"", 0))
    return bool(name) and len(content) >= length and content[: len(name)] == name


def _count_pictures(index: bytes) -> int:
    """How many pictures a file holds by its Multi-Picture index, a TIFF directory; 1 where it cannot be read."""
    directory = Image.Exif()
    try:
        directory.load(index)
        return max(1, int(directory.get(_NUMBER_OF_PICTURES, 1)))
    except Exception:  # Pillow raises a dozen kinds
        return 1
