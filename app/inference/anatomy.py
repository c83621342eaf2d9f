"""What lungs and heart in an image say of it: the width of the heart, and where the evidence for a finding lies.

Where there is no chest to be seen as on an upright frontal film, there is silence: no ratio, no side, no zone, no box.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from app.inference.chest import STRUCTURES, Chest, find_chest
from app.report import Side, Zone

THIRDS: tuple[Zone, ...] = ("upper", "middle", "lower")
"""Of the height of a lung, from top to bottom."""

BOX_SHARE = 0.65  # share of the evidence that is densest, around which a box is drawn
IN_THE_THORAX = 0.1  # share of the evidence that lies there, or there is no saying where

Box = tuple[float, float, float, float]  # left, top, right, bottom


class Cells(NamedTuple):
    """Where the encoder's positions lie in the square that the network sees, across as well as down: where the first
    begins and how wide each is, as fractions of the square."""

    first: float
    width: float

    @classmethod
    def of(cls, module: Any, image_size: int) -> Cells:
        """Those of an archive whose square has `image_size` pixels a side."""
        left, _, right, _ = module.region(image_size, image_size, 1)
        return cls(left, right - left)


class Place(NamedTuple):
    """Where evidence lies: side and zone as far as known, and a box around it, as fractions of the square that the
    network sees."""

    side: Side | None
    zone: Zone | None
    box: Box


class Shares(NamedTuple):
    """How the evidence within the thorax is shared by the thirds of each lung, from top to bottom; all six sum to 1."""

    right: tuple[float, ...]
    left: tuple[float, ...]

    def side(self, least: float) -> Side | None:
        """The side that holds at least that share. Never both: evidence on either side is more often that of a finding
        on one of them, not known which."""
        share, side = self.densest_side()
        return side if share >= least else None

    def densest_side(self) -> tuple[float, Side]:
        """The side with the greater share, and that share."""
        right, left = sum(self.right), sum(self.left)
        return (right, "right") if right > left else (left, "left")

    def zone(self, least: float, side: Side | None) -> Zone | None:
        """The zone that holds at least that share of what lies on a side, or on both where it is not known to lie on
        one."""
        share, zone = self.densest_zone(side)
        return zone if share >= least else None

    def densest_zone(self, side: Side | None) -> tuple[float, Zone]:
        """The zone with the greatest share of what lies on a side, and that share."""
        both = tuple(map(sum, zip(self.right, self.left, strict=True)))
        thirds = {"right": self.right, "left": self.left}.get(side or "", both)
        share = max(thirds)
        return share / (sum(thirds) or 1.0), THIRDS[thirds.index(share)]


class Anatomy:
    """What the head says of one image."""

    def __init__(self, logits: Tensor, cells: Cells) -> None:
        """`logits` f32[C,A,A] of `STRUCTURES`, or of one class alone where no head was fitted."""
        self.chest = find_chest(logits) if len(logits) == len(STRUCTURES) else None
        self._cells = cells

    def cardiothoracic_ratio(self) -> float | None:
        """Greatest width of the heart over that of the lungs together (Danzer 1919); None where they are not seen."""
        return self.chest.cardiothoracic_ratio if self.chest else None

    def shares(self, evidence: Tensor) -> Shares | None:
        """How the evidence f32[P] of a finding is shared by sides and zones; None where that is not known."""
        return share_out(spread(evidence, self._cells, len(self.chest.right)), self.chest) if self.chest else None

    def locate(self, evidence: Tensor, side_from: float | None, zone_from: float | None) -> Place | None:
        """Where the evidence f32[P] of a finding lies: on the side, in the zone that holds that share of it, each None
        where it is not to be said. None where no chest is seen."""
        if not self.chest:
            return None
        density = spread(evidence, self._cells, len(self.chest.right))
        shares = share_out(density, self.chest)
        side = shares.side(side_from) if shares and side_from is not None else None
        zone = shares.zone(zone_from, side) if shares and zone_from is not None else None
        return Place(side, zone, box_around(density, self.chest, side))


def spread(evidence: Tensor, cells: Cells, size: int) -> Tensor:
    """The evidence f32[P] of positions in reading order as a density f32[A,A] over the square, A = `size`, that sums to
    1: its softmax, interpolated between the middles of the positions."""
    positions = math.isqrt(len(evidence))
    between = _interpolation(cells, positions, size)
    density = between @ evidence.float().softmax(0).view(positions, positions) @ between.T
    return density / density.sum()


@lru_cache
def _interpolation(cells: Cells, positions: int, size: int) -> Tensor:
    """What the positions in a line count for each of `size` equal parts of the side, f32[size,positions]."""
    middles = (torch.arange(size) + 0.5) / size
    at = ((middles - cells.first) / cells.width - 0.5).clamp(0, positions - 1)
    return (1 - (at[:, None] - torch.arange(positions)).abs()).clamp(min=0)


def share_out(density: Tensor, chest: Chest) -> Shares | None:
    """How a density f32[A,A] is shared by the thirds of the lungs; None where hardly any of it lies in the thorax.

    A half of the thorax counts as its lung, with what hides that: behind fluid or consolidation the map may end.
    """
    size, found = len(density), []
    halves = (chest.thorax.start, chest.midline), (chest.midline, chest.thorax.end)
    for half, lung in zip(halves, (chest.right_height, chest.left_height), strict=True):
        third = lung.length / len(THIRDS)
        edges = (chest.top, lung.start + third, lung.end - third, chest.bottom)
        columns = density @ _within(*half, size)
        found.append([float(_within(*rows, size) @ columns) for rows in pairwise(edges)])
    total = sum(map(sum, found))
    if total < IN_THE_THORAX:
        return None
    right, left = (tuple(share / total for share in thirds) for thirds in found)
    return Shares(right, left)


def _within(start: float, end: float, size: int) -> Tensor:
    """How much of each of `size` cells in a line lies between two places, f32[size]."""
    cells = torch.arange(size)
    return (end - cells).clamp(0, 1) - (start - cells).clamp(0, 1)


def box_around(density: Tensor, chest: Chest, side: Side | None) -> Box:
    """The smallest box around the densest cells of a density f32[A,A] that hold `BOX_SHARE` of what lies within the
    thorax, or that half of it, as fractions of the square."""
    size = len(density)
    ends = {"right": (chest.thorax.start, chest.midline), "left": (chest.midline, chest.thorax.end)}
    left, right = ends.get(side or "", chest.thorax)
    spans = (chest.top, chest.bottom), (left, right)
    (top, bottom), (left, right) = ((max(0, math.floor(start)), min(size, math.ceil(end))) for start, end in spans)
    part = density[top:bottom, left:right]
    ranked = part.flatten().sort(descending=True).values
    held = ranked.cumsum(0)
    least = ranked[min(int(torch.searchsorted(held, BOX_SHARE * held[-1])), len(held) - 1)]
    kept = part >= least
    rows, columns = (kept.any(dim).nonzero()[:, 0].tolist() for dim in (1, 0))
    return (
        (left + columns[0]) / size,
        (top + rows[0]) / size,
        (left + columns[-1] + 1) / size,
        (top + rows[-1] + 1) / size,
    )
