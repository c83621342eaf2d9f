"""Small DICOM files that ask for much: each must be refused soon and in little memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import cache
from io import BytesIO

import numpy as np
import pydicom
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.app.dicom_phantoms import Storage, describe, dicom, write
from tests.app.pictures import phantom16

_SIDE = 6_300  # within the default of MAX_PIXELS
_UNDEFINED = 0xFFFF_FFFF


def bombs() -> Iterator[tuple[str, bytes]]:
    """What is wrong with each, and the file."""
    yield "deflated zeros", _deflated()
    for rows, columns in ((_SIDE, _SIDE), (60_000, 60_000)):
        yield "RLE of a larger picture", _claiming(RLELossless, rows, columns)
        yield "JPEG 2000 of a larger picture", _claiming(JPEG2000Lossless, rows, columns)
        yield "JPEG-LS of a larger picture", _claiming(JPEGLSLossless, rows, columns)
        yield "lossless JPEG of a larger picture", _claiming(JPEGLosslessSV1, rows, columns)
        yield "native pixels of a larger picture", _claiming(ExplicitVRLittleEndian, rows, columns)
    for side in (_SIDE, 60_000):
        yield "JPEG 2000 that says so itself", _jpeg2000_claiming(side, side)
    yield "JPEG 2000 in tiles of a pixel", _jpeg2000_claiming(240, 240, tile=1)
    yield "JPEG 2000 in precincts of a pixel", _jpeg2000_in_precincts()
    yield "RLE of a picture and a gigabyte more", _long_rle()
    yield "frames without end", dicom(phantom16(), NumberOfFrames=2**31 - 1)
    for depth in (33, 100_000):
        yield "sequences in sequences", _nested(depth)
    yield "sequences in sequences, of known length", _nested_with_lengths(2_000)
    yield "a million empty elements", _many(struct.pack("<HH2sH", 0x0009, 0x1001, b"LO", 0), 1_000_000)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    start = struct.pack("<HH2sHI", 0x0028, 0x3010, b"SQ", 0, _UNDEFINED)
    yield "a million empty items", _many(item, 1_000_000, start)
    start = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, _UNDEFINED)
    yield "a million pieces of pixels", _many(item, 1_000_000, start)


def _data_set() -> bytes:
    """A phantom's file up to its pixels."""
    dataset = describe(1, 1, Modality="DX")
    dataset.Rows, dataset.Columns = 80, 64
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    return write(dataset)


def _many(element: bytes, count: int, start: bytes = b"") -> bytes:
    return _data_set() + start + element * count


@cache
def _deflated() -> bytes:
    """256 MiB of a private element, a quarter of a MiB packed."""
    size = 2**28
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, size))
    packed += b"".join(packer.compress(bytes(2**24)) for _ in range(size // 2**24)) + packer.flush()
    whole = write(describe(1, 1, Modality="DX"), DeflatedExplicitVRLittleEndian)
    meta = 132 + 12 + struct.unpack_from("<I", whole, 140)[0]
    return whole[:meta] + packed


def _claiming(syntax: str, rows: int, columns: int) -> bytes:
    """A picture whose header claims another size; that of JPEG-LS and JPEG says so itself, too."""
    file = dicom(phantom16(), Storage(syntax), Rows=rows, Columns=columns)
    if syntax in (JPEGLSLossless, JPEGLosslessSV1):
        start = file.index({JPEGLSLossless: b"\xff\xf7", JPEGLosslessSV1: b"\xff\xc3"}[syntax]) + 5
        file = file[:start] + struct.pack("!HH", rows, columns) + file[start + 4 :]
    return file


def _jpeg2000_claiming(rows: int, columns: int, tile: int | None = None) -> bytes:
    file = dicom(phantom16(), Storage(JPEG2000Lossless), Rows=rows, Columns=columns)
    start = file.index(b"\xff\x4f\xff\x51") + 8
    across, down = (tile, tile) if tile else (columns, rows)
    return file[:start] + struct.pack("!6I", columns, rows, 0, 0, across, down) + file[start + 24 :]


def _jpeg2000_in_precincts() -> bytes:
    """The coding style says that precincts have sizes, and of each that it is one pixel."""
    dataset = pydicom.dcmread(BytesIO(_jpeg2000_claiming(_SIDE, _SIDE)))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    style = frame.index(b"\xff\x52")
    levels = frame[style + 9]
    head = struct.pack("!HB", 12 + levels + 1, 1) + frame[style + 5 : style + 14] + bytes(levels + 1)
    changed = frame[: style + 2] + head + frame[style + 14 :]
    dataset.PixelData = encapsulate([changed])
    return write(dataset, JPEG2000Lossless)


def _long_rle() -> bytes:
    """Two segments of 4 MiB each, all of it runs of 128."""
    runs = b"\x81\0" * 2**22
    frame = struct.pack("<16I", 2, 64, 64 + len(runs), *[0] * 13) + runs + runs
    dataset = pydicom.dcmread(BytesIO(dicom(np.zeros((80, 64), np.uint16), Storage(RLELossless))))
    dataset.PixelData = encapsulate([frame])
    return write(dataset, RLELossless)


def _nested(depth: int) -> bytes:
    sequence = struct.pack("<HH2sHI", 0x0009, 0x1001, b"SQ", 0, _UNDEFINED)
    return _data_set() + (sequence + struct.pack("<HHI", 0xFFFE, 0xE000, _UNDEFINED)) * depth


def _nested_with_lengths(depth: int) -> bytes:
    """In the sequence of look-up tables, which is one that is read."""
    inner = b""
    for _ in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        inner = struct.pack("<HH2sHI", 0x0028, 0x3010, b"SQ", 0, len(item)) + item
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, 2 * 80 * 64) + bytes(2 * 80 * 64)
    return _data_set() + inner + pixels
