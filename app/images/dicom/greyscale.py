"""From stored values to what a viewer shows (PS3.4, N.2): modality, values of interest, polarity, padding.

All of it is done to the at most 65,536 values that a pixel can have, and then looked up.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from app.images.borders import Pixels
from app.images.dicom.pixels import Layout, Values
from app.images.errors import CorruptImageError

Levels = npt.NDArray[np.float64]
Bounds = tuple[float, float]

_ROWS = 128  # looked up at a time: numpy makes eight bytes of each index
_SAMPLE = 512  # rows and columns that a window is judged by
# A window that leaves nine in ten pixels less than this share of the range apart shows nothing.
_HIDDEN, _SHOWN = 1 / 64, (5, 95)


def to_grey(values: Values, layout: Layout, dataset: Dataset, notes: list[str]) -> Pixels:
    """The values [H,W] as they are shown: in 8 bits where they are 8 bits that mean no others, else in 16. `notes` gets
    what a reader should know."""
    codes = _codes(values, layout)
    stored = np.arange(2**layout.stored, dtype=np.int64)
    if layout.signed:
        stored[len(stored) // 2 :] -= len(stored)
    padding = _padding(stored, dataset)
    seen = np.zeros(len(stored), bool)
    for rows in _blocks(codes):
        seen[rows] = True
    if (seen & ~padding).any():
        seen &= ~padding
    else:
        padding[:] = False
    modality, bounds = _modality(stored, seen, dataset, layout)
    levels = _values_of_interest(modality, dataset, codes, padding, notes)
    inverted = layout.photometric == "MONOCHROME1"
    if levels is None and modality is stored and layout.stored == 8 and not layout.signed:
        table: Pixels = np.arange(256, dtype=np.uint8)
        table = 255 - table if inverted else table
    else:
        if levels is None:
            levels = ((modality - bounds[0]) / (bounds[1] - bounds[0])).clip(0, 1)
        table = np.rint((1 - levels if inverted else levels) * 65535).astype(np.uint16)
    table[padding] = 0
    shown = np.empty(codes.shape, table.dtype)
    for rows, out in zip(_blocks(codes), _blocks(shown), strict=True):
        np.take(table, rows, out=out)
    return shown


def _codes(values: Values, layout: Layout) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The bits that hold a value, as a number without a sign: others may hold an overlay."""
    codes = values.astype(values.dtype.newbyteorder("="), copy=False).view(f"u{values.itemsize}")
    if layout.high >= layout.stored:
        codes = codes >> (layout.high + 1 - layout.stored)
    return codes if layout.stored == 8 * codes.itemsize else codes & (2**layout.stored - 1)


def _blocks(pixels: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    return [pixels[start : start + _ROWS] for start in range(0, len(pixels), _ROWS)]


def _padding(stored: npt.NDArray[np.int64], dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Which values stand for no pixel (PS3.3, C.7.5.1.1.2)."""
    first = _number(dataset.get("PixelPaddingValue"))
    if first is None:
        return np.zeros(len(stored), bool)
    last = _number(dataset.get("PixelPaddingRangeLimit"))
    low, high = sorted((first, first if last is None else last))
    return np.asarray((stored >= low) & (stored <= high))


def _modality(
    stored: npt.NDArray[np.int64], seen: npt.NDArray[np.bool_], dataset: Dataset, layout: Layout
) -> tuple[npt.NDArray[Any], Bounds]:
    """What the values mean (PS3.3, C.11.1), and between what they lie: the values of the bits that are used, for many
    a file claims more than it uses."""
    if dataset.get("ModalityLUTSequence"):
        table, first = _look_up_table(dataset.ModalityLUTSequence[0], layout)
        return table[(stored - first).clip(0, len(table) - 1)], (0, 2 ** int(table.max()).bit_length() - 1)
    used = stored[seen]
    lowest, highest = int(used.min()), int(used.max())
    if layout.signed:
        bits = max((-lowest - 1).bit_length() if lowest < 0 else 0, highest.bit_length() if highest > 0 else 0)
        low, high = -(2**bits), max(1, 2**bits - 1)
    else:
        low, high = 0, max(1, 2 ** highest.bit_length() - 1)
    slope, intercept = _number(dataset.get("RescaleSlope")), _number(dataset.get("RescaleIntercept"))
    if not slope or (slope, intercept or 0.0) == (1.0, 0.0):
        return stored, (low, high)
    offset = intercept or 0.0
    ends = sorted((low * slope + offset, high * slope + offset))
    return stored * slope + offset, (ends[0], ends[1])


def _values_of_interest(
    modality: npt.NDArray[Any],
    dataset: Dataset,
    codes: npt.NDArray[np.unsignedinteger[Any]],
    padding: npt.NDArray[np.bool_],
    notes: list[str],
) -> Levels | None:
    """What they are shown as, 0 to 1 (PS3.3, C.11.2): by the look-up table, else the first window that is one; None
    where the file has neither, or what it has shows nothing."""
    if dataset.get("VOILUTSequence"):
        table, first = _look_up_table(dataset.VOILUTSequence[0], None)
        levels = table[np.rint(modality - first).astype(np.int64).clip(0, len(table) - 1)] / max(1, int(table.max()))
    else:
        windows = zip(_numbers(dataset.get("WindowCenter")), _numbers(dataset.get("WindowWidth")), strict=False)
        function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
        least = 1 if function == "LINEAR" else 0
        window = next(((c, w) for c, w in windows if c is not None and w is not None and w >= least and w > 0), None)
        if window is None:
            return None
        levels = _windowed(modality, *window, function)
    sample = codes[:: max(1, codes.shape[0] // _SAMPLE), :: max(1, codes.shape[1] // _SAMPLE)]
    pixels = sample[~padding[sample]]
    if not pixels.size or np.ptp(np.percentile(levels[pixels], _SHOWN)) >= _HIDDEN:
        return levels
    if np.ptp(np.percentile(modality[pixels], _SHOWN)) > 0:
        notes.append("the window of its header would show nothing of the image and was not applied")
        return None
    return levels


def _windowed(values: npt.NDArray[Any], center: float, width: float, function: str) -> Levels:
    """PS3.3, C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp((-4 * (values - center) / width).clip(-500, 500))))
    if function == "LINEAR":
        center, width = center - 0.5, max(width - 1, 1e-6)
    return np.asarray(((values - center) / width + 0.5).clip(0, 1))


def _look_up_table(item: Dataset, layout: Layout | None) -> tuple[npt.NDArray[np.int64], int]:
    """The entries of a modality or VOI LUT (PS3.3, C.11.1.1), and the value that the first of them is for."""
    descriptor, data = item.LUTDescriptor, item.LUTData
    count, first, bits = (int(one) for one in descriptor)
    count = count or 2**16
    if first > 32767 and layout is not None and layout.signed:
        first -= 65536  # SS written as US
    if isinstance(data, bytes):
        data = np.frombuffer(data, "<u2" if len(data) >= 2 * count else "u1")
    entries = np.atleast_1d(np.asarray(data, np.int64))[:count] & 0xFFFF
    if not 8 <= bits <= 16 or len(entries) < 2 or int(entries.max()) == int(entries.min()):
        raise CorruptImageError("the file is damaged: a look-up table of its header cannot be right")
    return entries, first


def _numbers(value: Any) -> list[float | None]:
    """The numbers of an element that may have one, several, or none that is one."""
    many = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    return [_number(one) for one in many]


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
