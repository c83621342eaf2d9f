"""The film within its picture: what surrounds it in one tone, and whether it is the only one.

The network sees a picture made to fit a square, standardised as a whole: a wide frame makes the film small and its
contrast another. A row or column counts as border when it is of one tone from end to end, so a film's own dark ground,
which has grain, lungs or letters in it, does not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Region = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, right and bottom being the first ones outside."""

# Borders are cropped where they take this share of the longer side, a fifth give or take a pixel: the film is seen so
# much smaller. Of 18,703 films of seven collections 8 have such borders; at a sixth it would be 19.
_CROPPED = 0.19
# Shares of the side that is looked along. What lies closer is one thing; smaller things beside a film are title bars
# and labels, larger ones are pictures; a film is at least so large.
_GUTTER, _LABEL, _PICTURE, _SMALLEST = 0.01, 0.1, 0.2, 0.1
# One tone: this many of 255 levels from darkest to brightest, less where the picture has little contrast.
_TONE, _TONE_PER_DEVIATION = 2.0, 0.1
# Two films side by side have an edge where they meet, and few more: a step from one pixel to the next over this share
# of the length, in levels of 255 and as a multiple of the steps beside it, somewhere in the middle and with something
# to be seen on both sides. Among the same films the highest share is 0.34.
_SEAM, _SEAMS, _STEP, _STEP_PER_DEVIATION, _STEEPER, _CONTENT, _MIDDLE = 0.4, 4, 6.0, 0.12, 2, 0.25, (0.3, 0.7)
_SAMPLE = 256  # lines looked at, where a few will do
_ROUNDS = 8  # frames within frames


class Film(NamedTuple):
    """Where to look, and whether several pictures lie there side by side or one above the other."""

    region: Region
    several: bool


class _Contrast(NamedTuple):
    """What one of 255 levels is, and the standard deviation, in the picture's own levels."""

    level: float
    deviation: float


def find_film(pixels: Pixels) -> Film:
    """Looks for what is left of a picture [H,W] without its borders; all of it, where they are narrow."""
    height, width = pixels.shape
    left, top, right, bottom = whole = (0, 0, width, height)
    sample = _sample(pixels)
    several, film, contrast = False, pixels, _contrast(sample)
    if any(_of_one_tone(sample, axis, contrast).any() for axis in (0, 1)):
        (left, top, right, bottom), several = _cut(pixels)
        film = pixels[top:bottom, left:right]
        contrast = _contrast(_sample(film))
    several = several or _has_seam(film, contrast) or _has_seam(film.T, contrast)
    large = right - left >= _SMALLEST * width and bottom - top >= _SMALLEST * height
    cropped = max(right - left, bottom - top) <= (1 - _CROPPED) * max(height, width)
    return Film((left, top, right, bottom) if cropped and large else whole, several)


def _cut(pixels: Pixels) -> Film:
    """Takes lines away from above and below, left and right in turn, until there are none to take."""
    height, width = pixels.shape
    ends, several, settled = [(0, height), (0, width)], False, 0
    for axis in (0, 1) * _ROUNDS:
        part = pixels[slice(*ends[0]), slice(*ends[1])]
        lines = part.shape[axis]
        things = _things(_of_one_tone(part, axis, _contrast(_sample(part))), max(2, round(_GUTTER * lines)))
        if not things:  # of one tone as a whole
            break
        sizes = [last - first for first, last in things]
        several |= sum(size >= _PICTURE * lines for size in sizes) > 1
        chosen = [thing for thing, size in zip(things, sizes, strict=True) if size > _LABEL * lines] or things
        first, last = chosen[0][0], chosen[-1][1]
        settled = settled + 1 if (first, last) == (0, lines) else 0
        if settled == 2:
            break
        ends[axis] = (ends[axis][0] + first, ends[axis][0] + last)
    (top, bottom), (left, right) = ends
    return Film((left, top, right, bottom), several)


def _of_one_tone(pixels: Pixels, axis: int, contrast: _Contrast) -> npt.NDArray[np.bool_]:
    """Which rows (axis 0) or columns (axis 1) are: bool[lines]."""
    tone = min(_TONE * contrast.level, _TONE_PER_DEVIATION * contrast.deviation)
    return np.asarray(pixels.max(1 - axis) - pixels.min(1 - axis) <= tone)


def _things(plain: npt.NDArray[np.bool_], gutter: int) -> list[tuple[int, int]]:
    """Runs of lines that are not `plain`, as first and behind the last; those less than `gutter` apart are one."""
    steps = np.flatnonzero(np.diff(np.concatenate([[True], plain, [True]]).astype(np.int8)))
    things: list[tuple[int, int]] = []
    for first, last in steps.reshape(-1, 2).tolist():
        if things and first - things[-1][1] < gutter:
            things[-1] = (things[-1][0], last)
        else:
            things.append((first, last))
    return things


def _has_seam(pixels: Pixels, contrast: _Contrast) -> bool:
    """Whether two pictures meet in the middle, left and right."""
    first, last = (round(share * pixels.shape[1]) for share in _MIDDLE)
    if first < 3 or not contrast.deviation:
        return False
    rows = _thinned(pixels)
    band = rows[:, first - 3 : last + 3].copy("K")  # as it lies in memory, whichever way it is looked along
    steps = np.maximum(band[:, 1:], band[:, :-1]) - np.minimum(band[:, 1:], band[:, :-1])
    step = steps[:, 2:-2]
    # Levels are whole numbers: against one, they are compared as they are.
    large = step > int(min(_STEP * contrast.level, _STEP_PER_DEVIATION * contrast.deviation))
    if _shares(large).max() <= _SEAM:  # most pictures: that saves the rest
        return False
    beside = np.maximum(np.maximum(steps[:, :-4], steps[:, 1:-3]), np.maximum(steps[:, 3:-1], steps[:, 4:]))
    wide = np.uint16 if beside.dtype == np.uint8 else np.uint32
    shares = _shares(large & (step > _STEEPER * beside.astype(wide)))
    if not 0 < (shares > _SEAM).sum() <= _SEAMS:
        return False
    seam = first + int(shares.argmax())
    return all(_deviation(half) > _CONTENT * contrast.deviation for half in (rows[:, :seam], rows[:, seam:]))


def _shares(there: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Of each column that of the rows, fewer than 65,536, in which something is."""
    return np.asarray(there.sum(0, np.uint16) / len(there))


def _contrast(sample: Pixels) -> _Contrast:
    return _Contrast(float(np.iinfo(sample.dtype).max) / 255, _deviation(sample))


def _deviation(sample: Pixels) -> float:
    """By sums of whole numbers, which are exact up to two million pixels of 16 bits: in any order they are the same."""
    levels = sample.ravel("K").astype(np.float64)
    total, squares = int(levels.sum()), int(levels @ levels)
    return math.sqrt(max(0, levels.size * squares - total**2)) / levels.size


def _sample(pixels: Pixels) -> Pixels:
    """Some of the rows and columns, evenly spaced."""
    return _thinned(_thinned(pixels).T).T.copy()


def _thinned(pixels: Pixels) -> Pixels:
    """Some of the rows, evenly spaced."""
    return pixels[:: max(1, len(pixels) // _SAMPLE)]
