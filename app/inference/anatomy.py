"""Lungs and heart in an image: the width of the heart, and where over the lungs the evidence for a finding lies.

A map that does not look like the chest of an upright frontal film gives nothing: no ratio, no side, no zone.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from app.report import Side, Zone

STRUCTURES = ("background", "right lung", "left lung", "heart")
"""The classes of the head's logits. Right and left are the patient's."""


class Place(NamedTuple):
    """Where evidence lies: side and zone as far as known, and a box around it: left, top, right, bottom as fractions of
    the square that the network sees."""

    side: Side | None
    zone: Zone | None
    box: tuple[float, float, float, float]


class Anatomy:
    """What the head says of one image."""

    def __init__(self, logits: Tensor) -> None:
        """`logits` f32[C,A,A] of `STRUCTURES`, or of one class alone where no head was fitted."""
        self._shares = logits.float().softmax(0) if len(logits) == len(STRUCTURES) else None

    def cardiothoracic_ratio(self) -> float | None:
        """Greatest width of the heart over that of the lungs together (Danzer 1919); None where either is not seen."""
        return None

    def locate(self, evidence: Tensor, side_from: float | None, zone_from: float | None) -> Place | None:
        """Where the evidence f32[P] of a finding lies; None where that is not known."""
        return None
