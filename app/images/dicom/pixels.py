"""The stored values of a DICOM image (PS3.5, 8): which transfer syntaxes are read, by what, and what is checked first.

Decoders believe what a compressed frame says of its size, or write what it unpacks to, however much. So the frame is
compared with the header before any of them sees it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder  # type: ignore[attr-defined]  # no explicit export
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pydicom.uid import UID_dictionary as KNOWN_UIDS  # type: ignore[attr-defined]  # no explicit export

from app.images.dicom.elements import DicomFile
from app.images.errors import CorruptImageError, UnsupportedTransferSyntaxError
from app.images.jpeg import segments

Values = npt.NDArray[np.integer[Any]]


class Layout(NamedTuple):
    """How the values are stored (PS3.3, C.7.6.3). `stored` of the `allocated` bits hold a value, the highest of which
    is `high`."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: int


class _Syntax(NamedTuple):
    """Which of pydicom's plug-ins decodes a transfer syntax, and what is checked of a frame before."""

    plugin: str
    check: Callable[[bytes, Layout], None]


def read_values(file: DicomFile, layout: Layout) -> Values:
    """The values [H,W], or [H,W,3] for colours, which are RGB then.

    Raises `UnsupportedTransferSyntaxError`, `CorruptImageError`, or what the decoders raise.
    """
    syntax = _NATIVE_AS.get(UID(file.syntax), UID(file.syntax)) if file.syntax else _unnamed(file)
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "planar_configuration": layout.planar,
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,  # it takes for granted which they are
    }
    if syntax in _NATIVE:
        if file.encapsulated:
            raise CorruptImageError("the file is damaged: its pixels are compressed, and its transfer syntax is not")
        bits = layout.rows * layout.columns * layout.samples * layout.allocated
        # Two pixels of YBR_FULL_422 share their colour.
        length = bits // (12 if layout.photometric == "YBR_FULL_422" else 8)
        (packed,) = file.pixels or [memoryview(b"")]
        if len(packed) < length:
            raise CorruptImageError("the file is damaged or incomplete: it has fewer pixels than its header says")
        values, _ = get_decoder(syntax).as_array(packed[: length + length % 2], **options)
        return values
    if syntax not in SYNTAXES:
        known = KNOWN_UIDS.get(str(syntax))
        name = known[0] if known and known[1] == "Transfer Syntax" else "one that is not known here"
        raise UnsupportedTransferSyntaxError(f"the file's transfer syntax is {name}, which is not read")
    if not file.encapsulated:
        raise CorruptImageError("the file is damaged: its transfer syntax is compressed, and its pixels are not")
    frame = b"".join(file.pixels or [])
    plugin, check = SYNTAXES[syntax]
    check(frame, layout)
    try:
        values, _ = get_decoder(syntax).as_array(encapsulate([frame]), decoding_plugin=plugin, **options)
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # what a decoder written in Rust raises when it panics
        raise CorruptImageError("the file is damaged: its pixels cannot be decoded") from error
    return values


def _unnamed(file: DicomFile) -> UID:
    """The transfer syntax of a file that names none."""
    if file.encapsulated:
        raise UnsupportedTransferSyntaxError("the file names no transfer syntax, and its pixels are compressed")
    if not file.coding.explicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if file.coding.little else ExplicitVRBigEndian


def _check_rle(frame: bytes, layout: Layout) -> None:
    """PS3.5, annex G: a segment for each byte of a pixel, in which two bytes stand for 128 at most."""
    if len(frame) < 64:
        raise CorruptImageError("the file is damaged or incomplete: its pixels have no header")
    size = layout.rows * layout.columns
    segments = layout.samples * layout.allocated // 8
    count, *offsets = struct.unpack_from("<16I", frame)
    ends = [*offsets[1:segments], len(frame)]
    lengths = [end - start for start, end in zip(offsets[:segments], ends, strict=True)]
    if count != segments or offsets[0] < 64 or any(size > 64 * length for length in lengths):
        raise CorruptImageError("the file is damaged: its run lengths do not fit its size")


def _check_jpeg(*frames: int) -> Callable[[bytes, Layout], None]:
    """For JPEG (ITU-T T.81) and JPEG-LS (T.87): a frame of one of these kinds and of the header's size."""

    def check(frame: bytes, layout: Layout) -> None:
        if frame[:2] != b"\xff\xd8":
            raise CorruptImageError("the file is damaged: its pixels are no JPEG")
        for marker, content, *_ in segments(frame):
            if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == _JPEG_LS:
                if marker not in frames or len(content) < 6:
                    raise CorruptImageError("the file is damaged: its pixels are of another kind of JPEG than it says")
                bits, rows, columns, samples = struct.unpack_from("!BHHB", content)
                if marker in _LOSSY and bits != 8:
                    name = f"JPEG Extended of {bits} bits"
                    raise UnsupportedTransferSyntaxError(f"the file's transfer syntax is {name}, which is not read")
                _compare((rows, columns, samples), bits, layout)
                if marker == _LOSSLESS and len(frame) * 8 < rows * columns * samples:  # a bit each, at least
                    raise CorruptImageError("the file is damaged or incomplete: it has fewer pixels than it says")
                if b"\xff\xd9" not in frame[-_TRAILING:]:
                    raise CorruptImageError("the file is damaged or incomplete: its pixels end before their end")
                return
        raise CorruptImageError("the file is damaged: its pixels have no header")

    return check


def _check_jpeg2000(frame: bytes, layout: Layout) -> None:
    """For JPEG 2000 and HTJ2K (T.800, annex A; T.814): the header's size, and no more parts than any encoder makes."""
    start = frame.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(frame) < start + 45:
        raise CorruptImageError("the file is damaged: its pixels are no JPEG 2000")
    right, below, left, above, wide, high, first_x, first_y, samples, bits = struct.unpack_from(
        "!8IHB", frame, start + 8
    )
    steps = frame[start + 43 : start + 42 + 3 * samples]
    _compare((below - above, right - left, samples), (bits & 127) + 1, layout)
    if any(step != 1 for step in steps[0::3] + steps[1::3]):
        raise CorruptImageError("the file is damaged: its colours have another size than its pixels")
    tiles = wide and high and -(-(right - first_x) // wide) * -(-(below - first_y) // high)
    if not 1 <= tiles <= _MAX_TILES:
        raise CorruptImageError(f"the file's JPEG 2000 has no tiles, or more than {_MAX_TILES}")
    style = frame.find(b"\xff\x52", start + 40)
    if style < 0 or len(frame) < style + 14:
        raise CorruptImageError("the file is damaged: its JPEG 2000 has no coding style")
    levels, *block = frame[style + 9 : style + 12]
    precincts = frame[style + 14 : style + 15 + levels] if frame[style + 4] & 1 else b""
    if levels > 32 or min(block) < _SMALLEST_BLOCK or any(min(p & 15, p >> 4) < _SMALLEST_PRECINCT for p in precincts):
        raise CorruptImageError("the file's JPEG 2000 is cut into smaller pieces than any encoder makes")


def _compare(shape: tuple[int, int, int], bits: int, layout: Layout) -> None:
    if shape != (layout.rows, layout.columns, layout.samples) or bits > layout.allocated:
        raise CorruptImageError("the file is damaged: its pixels have another size than its header says")


_MAX_TILES = 4_096
# Binary logarithms; a code block's less 2. Encoders make blocks of 32 or 64 and precincts of 128 pixels or more.
_SMALLEST_BLOCK, _SMALLEST_PRECINCT = 2, 5
_LOSSY, _LOSSLESS, _JPEG_LS = (0xC0, 0xC1), 0xC3, 0xF7
_TRAILING = 16  # bytes that may follow the end of a JPEG
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_NATIVE_AS = {DeflatedExplicitVRLittleEndian: ExplicitVRLittleEndian}
SYNTAXES: Mapping[str, _Syntax] = {
    RLELossless: _Syntax("pylibjpeg", _check_rle),
    JPEGBaseline8Bit: _Syntax("pillow", _check_jpeg(0xC0)),
    JPEGExtended12Bit: _Syntax("pillow", _check_jpeg(*_LOSSY)),
    JPEGLossless: _Syntax("gdcm", _check_jpeg(_LOSSLESS)),
    JPEGLosslessSV1: _Syntax("gdcm", _check_jpeg(_LOSSLESS)),
    JPEGLSLossless: _Syntax("pyjpegls", _check_jpeg(_JPEG_LS)),
    JPEGLSNearLossless: _Syntax("pyjpegls", _check_jpeg(_JPEG_LS)),
    **dict.fromkeys(
        (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), _Syntax("pylibjpeg", _check_jpeg2000)
    ),
}
