"""The elements of a DICOM file (PS3.5, PS3.10) that something depends on, found without reading the others.

pydicom has no bounds: half a megabyte of deflated zeros becomes a gigabyte while it reads, a file of sequences in
sequences ends in a RecursionError, one of empty elements takes minutes. So a file is walked through here, element by
element, and pydicom is given the few that are wanted. What is not wanted, names and private elements above all, is
never looked at.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Collection
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from app.images.errors import CorruptImageError, ImageTooLargeError

MAX_ELEMENTS = 20_000
"""Of a file, those in sequences of undefined length and the pieces of its pixels counted; films have a few hundred."""
MAX_DEPTH = 32
"""Sequences of undefined length in sequences."""
MAX_VALUE_BYTES = 2**20
"""Of an element other than the pixels: a look-up table has 128 KiB. Longer ones are passed over."""

_PREAMBLE, _PREFIX = 128, b"DICM"
_META_GROUP = 0x0002
_TRANSFER_SYNTAX, _PIXELS = 0x0002_0010, 0x7FE0_0010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_UNDEFINED = 0xFFFF_FFFF
# PS3.5, 7.1.2: these have two bytes in reserve and a length of four.
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")


class Coding(NamedTuple):
    """How a data set is written; `deflated` from its first element on."""

    explicit: bool
    little: bool
    deflated: bool = False


class Element(NamedTuple):
    """`start` is where its tag is, `value` and `end` enclose its value; an undefined length ends where it ends."""

    tag: int
    vr: bytes
    start: int
    value: int
    end: int
    undefined: bool


class DicomFile(NamedTuple):
    """The wanted elements of a file and, packed as they are, its pixels: None where there are none, one fragment where
    they are native. `syntax` is the transfer syntax's UID, "" where the file names none."""

    dataset: Dataset
    syntax: str
    coding: Coding
    pixels: list[memoryview] | None
    encapsulated: bool


def read_file(data: bytes, wanted: Collection[int], max_bytes: int) -> DicomFile:
    """Finds the `wanted` tags and the pixels of a file, which inflated may have `max_bytes`.

    Raises `CorruptImageError`, `ImageTooLargeError`, or what pydicom raises.
    """
    start = _PREAMBLE + 4 if data[_PREAMBLE : _PREAMBLE + 4] == _PREFIX else 0
    view = memoryview(data)
    syntax, start = _read_meta(view, start)
    coding = _coding(view, start, syntax)
    if coding.deflated:
        view, start = memoryview(_inflate(view[start:], max_bytes)), 0
        coding = _coding(view, start, ExplicitVRLittleEndian)
    walk = _Walk(view, coding)
    kept: dict[int, bytes] = {}
    pixels: list[memoryview] | None = None
    encapsulated = False
    while start < len(view) and pixels is None:
        if not any(view[start : start + 8]) or len(view) - start < 8:  # padding behind the last element
            break
        element, start = walk.element(start)
        if element.tag == _PIXELS:
            encapsulated = element.undefined
            pixels = walk.fragments(element) if encapsulated else [view[element.value : element.end]]
        elif element.tag in wanted and element.end - element.start <= MAX_VALUE_BYTES:
            kept.setdefault(element.tag, bytes(view[element.start : element.end]))
    slim = io.BytesIO(b"".join(kept[tag] for tag in sorted(kept)))
    dataset = read_dataset(slim, is_implicit_VR=not coding.explicit, is_little_endian=coding.little)
    return DicomFile(dataset, syntax, coding, pixels, encapsulated)


def _read_meta(view: memoryview, start: int) -> tuple[str, int]:
    """The transfer syntax that the file's meta information names, and where the data set begins."""
    walk, syntax = _Walk(view, Coding(explicit=True, little=True)), ""
    while bytes(view[start : start + 2]) == b"\2\0":
        element, start = walk.element(start)
        if element.tag == _TRANSFER_SYNTAX:
            syntax = bytes(view[element.value : element.end][:65]).strip(b"\0 ").decode("latin-1")
    return syntax, start


def _coding(view: memoryview, start: int, syntax: str) -> Coding:
    """How the data set is written: by its syntax, or by its first element where that contradicts or there is none."""
    if syntax == DeflatedExplicitVRLittleEndian:
        return Coding(explicit=True, little=True, deflated=True)
    little = syntax != ExplicitVRBigEndian if syntax else bytes(view[start : start + 1]) != b"\0"
    if start + 8 > len(view):
        return Coding(explicit=syntax != ImplicitVRLittleEndian, little=little)
    return Coding(explicit=_is_vr(bytes(view[start + 4 : start + 6])), little=little)


def _inflate(packed: memoryview, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, max_bytes)
    except zlib.error as error:
        raise CorruptImageError("the file is damaged: its deflated data set cannot be inflated") from error
    if inflater.unconsumed_tail:
        raise ImageTooLargeError(f"the deflated data set has more than {max_bytes} bytes")
    return data


def _is_vr(letters: bytes) -> bool:
    return len(letters) == 2 and letters.isalpha() and letters.isupper()


class _Walk:
    """Steps through the elements of one file, and counts them."""

    def __init__(self, view: memoryview, coding: Coding) -> None:
        order = "<" if coding.little else ">"
        self._view, self._coding = view, coding
        self._tag, self._short, self._length = (struct.Struct(order + code) for code in ("HH", "H", "I"))
        self._left = MAX_ELEMENTS

    def element(self, start: int) -> tuple[Element, int]:
        """The element at `start`, and where the next one begins. Raises `CorruptImageError`."""
        tag, vr, value, length = self._head(start, self._coding.explicit)
        if length != _UNDEFINED:
            end = value + length
            if end > len(self._view):
                raise CorruptImageError("the file is damaged or incomplete: an element reaches beyond its end")
            return Element(tag, vr, start, value, end, undefined=False), end
        end = len(self._view) if tag == _PIXELS else self._sequence_end(value, vr)
        return Element(tag, vr, start, value, end, undefined=True), end

    def fragments(self, pixels: Element) -> list[memoryview]:
        """The pieces of encapsulated pixels (PS3.5, A.4), the table of offsets left out."""
        pieces, start = [], pixels.value
        while start + 8 <= len(self._view):
            tag, _, value, length = self._head(start, explicit=False)
            if tag != _ITEM:
                break
            start = value + length
            if start > len(self._view):
                raise CorruptImageError("the file is damaged or incomplete: its pixels reach beyond its end")
            pieces.append(self._view[value:start])
        return pieces[1:]

    def _head(self, start: int, explicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, VR ("" where implicit), where the value begins, and its length."""
        self._left -= 1
        if self._left < 0:
            raise CorruptImageError(f"the file has more than {MAX_ELEMENTS} elements")
        if start + 8 > len(self._view):
            raise CorruptImageError("the file is damaged or incomplete: it ends within an element")
        group, number = self._tag.unpack_from(self._view, start)
        vr = bytes(self._view[start + 4 : start + 6])
        if not explicit or group == 0xFFFE or not _is_vr(vr):
            return group << 16 | number, b"", start + 8, self._length.unpack_from(self._view, start + 4)[0]
        if vr not in _LONG:
            return group << 16 | number, vr, start + 8, self._short.unpack_from(self._view, start + 6)[0]
        if start + 12 > len(self._view):
            raise CorruptImageError("the file is damaged or incomplete: it ends within an element")
        return group << 16 | number, vr, start + 12, self._length.unpack_from(self._view, start + 8)[0]

    def _sequence_end(self, start: int, vr: bytes) -> int:
        """Where a sequence of undefined length ends whose first item is at `start`."""
        # Within a sequence there are items, within an item elements. One of VR UN is implicit (PS3.5, 6.2.2).
        within = [(_SEQUENCE_END, self._coding.explicit and vr != b"UN")]
        while within:
            closing, explicit = within[-1]
            tag, vr, value, length = self._head(start, explicit)
            start = value
            if tag == closing:
                within.pop()
            elif closing == _SEQUENCE_END and tag != _ITEM:
                raise CorruptImageError("the file is damaged: something that is no item lies in a sequence")
            elif length != _UNDEFINED:
                start += length
            elif len(within) > 2 * MAX_DEPTH:
                raise CorruptImageError(f"the file has sequences nested deeper than {MAX_DEPTH}")
            else:
                within.append((_ITEM_END if tag == _ITEM else _SEQUENCE_END, explicit and vr != b"UN"))
        return start
