"""The chest in the anatomy head's map of an image: where lungs and heart begin and end, and whether it looks like one.

A map that does not look like the chest of an upright frontal film, seen whole, is none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

STRUCTURES = ("background", "right lung", "left lung", "heart", "outside")
"""The classes of the head's logits. Right and left are the patient's; outside is what surrounds the film: padding, and
borders of one tone."""

MAPPED_VIEW = "frontal"
"""The view in which they are looked for: from the side one lung hides the other."""

EDGE = 0.5  # share of a structure at its edge
LINES = 2  # rows that reach as far as the width counts, or columns as the height: one alone may be noise

LIMITS = {
    "smaller lung": (0.02, 1.0),  # areas as shares of the square
    "right to left": (0.33, 3.0),
    "heart to lungs": (0.06, 0.9),
    "lungs apart": (0.3, 0.75),  # between their centroids, in widths of the thorax, as the next four
    "lungs level": (-0.2, 0.2),
    "heart below": (0.02, 0.5),
    "height": (0.5, 1.6),
    "cut": (0.0, 0.3),  # what of the lungs ends where the film does
    "heart between": (0.25, 0.9),  # 0 at the centroid of the right lung, 1 at that of the left one
    "confidence": (0.75, 1.0),
}
"""Between what the measures of a chest lie: those of films with masks, with room for disease."""
_TRACE = 0.25  # share of a structure in the cells that connect it
_PATCH = 8  # cells a side
_TINY = 1e-6


class Span(NamedTuple):
    """A stretch of the map, in cells from its edge."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """From start to end."""
        return self.end - self.start


class Chest(NamedTuple):
    """Shares f32[A,A] of the lungs and the heart in each cell; thorax and heart from side to side, the lungs from top
    to bottom."""

    right: Tensor
    left: Tensor
    heart: Tensor
    thorax: Span
    breadth: Span
    right_height: Span
    left_height: Span

    @property
    def midline(self) -> float:
        """Halfway between the outer edges of the lungs, in cells."""
        return (self.thorax.start + self.thorax.end) / 2

    @property
    def top(self) -> float:
        """Of the higher lung, in cells."""
        return min(self.right_height.start, self.left_height.start)

    @property
    def bottom(self) -> float:
        """Of the lower lung, in cells."""
        return max(self.right_height.end, self.left_height.end)

    @property
    def cardiothoracic_ratio(self) -> float:
        """The greatest width of the heart over that of the lungs together (Danzer 1919)."""
        return self.breadth.length / self.thorax.length


def find_chest(logits: Tensor) -> Chest | None:
    """The chest in a map f32[C,A,A] of `STRUCTURES`, None where it looks like none."""
    shares = logits.float().softmax(0)
    chest = outline(*connected(shares[1:4]))
    if chest is None:
        return None
    measures = measure(chest, shares[4])
    return chest if all(low <= measures[name] <= high for name, (low, high) in LIMITS.items()) else None


def connected(maps: Tensor) -> Tensor:
    """Maps f32[K,A,A] without what does not hang together with the thickest part of each: air beside an arm is no
    lung."""
    thickness = F.avg_pool2d(maps, _PATCH, _PATCH // 2)
    rows, columns = np.divmod(thickness.flatten(1).argmax(1).numpy(), thickness.shape[2])
    kept = (maps > _TRACE).numpy()
    patch = np.zeros_like(kept)
    patch[np.arange(len(maps)), (rows + 1) * (_PATCH // 2), (columns + 1) * (_PATCH // 2)] = True
    runs = [_runs(kept, axis) for axis in (1, 2)]
    before = None
    while before is None or (patch != before).any():
        before = patch
        for numbers in runs:
            touched = np.zeros(numbers.max() + 1, np.bool_)
            touched[numbers[patch]] = True
            patch = touched[numbers] & kept
    around = F.max_pool2d(torch.from_numpy(patch).float(), 3, 1, 1)  # a structure fades out at its edge
    return maps * around


def _runs(kept: npt.NDArray[np.bool_], axis: int) -> npt.NDArray[np.int_]:
    """The number of the run along an axis that each cell which is kept lies in."""
    lines = np.moveaxis(kept, axis, -1)
    starts = lines.copy()
    starts[..., 1:] &= ~lines[..., :-1]
    return np.moveaxis(starts.ravel().cumsum().reshape(lines.shape), -1, axis)


def outline(right: Tensor, left: Tensor, heart: Tensor) -> Chest | None:
    """Lungs and heart of shares f32[A,A], whether they look like any or not; None where one is missing."""
    thorax, breadth = (find_span(profile(part, 0)) for part in (right + left + heart, heart))
    right_height, left_height = (find_span(profile(part, 1)) for part in (right, left))
    if not (thorax and breadth and right_height and left_height):
        return None
    return Chest(right, left, heart, thorax, breadth, right_height, left_height)


def profile(shares: Tensor, across: int) -> Tensor:
    """What `LINES` cells in each row or column of shares f32[…,A,A] have at least: the dimension `across` goes."""
    return shares.topk(LINES, across).values.select(across, -1)


def find_span(shares: Tensor) -> Span | None:
    """The longest stretch of a profile f32[A] that is at least `EDGE`, its ends interpolated between cells."""
    values = [0.0, *shares.tolist(), 0.0]  # beyond the square there is nothing
    first, end, start = 0, 0, 0
    for i, value in enumerate(values):
        if value < EDGE:
            if i - start > end - first:
                first, end = start, i
            start = i + 1
    if first == end:
        return None
    # The middle of the cell values[i] lies at i - 0.5.
    return Span(
        first - 0.5 - (values[first] - EDGE) / (values[first] - values[first - 1]),
        end - 1.5 + (values[end - 1] - EDGE) / (values[end - 1] - values[end]),
    )


def measure(chest: Chest, outside: Tensor) -> dict[str, float]:
    """What `LIMITS` bounds, of a chest and the shares f32[A,A] of what is outside."""
    parts = torch.stack([chest.right, chest.left, chest.heart])
    right, left, heart = (parts.mean((1, 2)) + _TINY).tolist()
    middles = (torch.arange(parts.shape[1]) + 0.5) / (parts.sum((1, 2)) + _TINY)[:, None]
    (right_x, left_x, heart_x), (right_y, left_y, heart_y) = (
        (parts.sum(dim) * middles).sum(1).tolist() for dim in (1, 2)
    )
    width, apart = chest.thorax.length, max(left_x - right_x, _TINY)
    beside = F.max_pool2d(F.pad(outside[None], [1, 1, 1, 1], value=1.0), 3, 1)[0]
    greatest = parts.amax(0)
    return {
        "smaller lung": min(right, left),
        "right to left": right / left,
        "heart to lungs": heart / (right + left),
        "lungs apart": (left_x - right_x) / width,
        "lungs level": (left_y - right_y) / width,
        "heart below": (heart_y - (right_y + left_y) / 2) / width,
        "height": (chest.bottom - chest.top) / width,
        "cut": float(((chest.right + chest.left) * beside).sum()) / width,
        "heart between": (heart_x - right_x) / apart,
        "confidence": float(greatest.square().sum() / (greatest.sum() + _TINY)),
    }
