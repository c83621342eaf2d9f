"""The one record every reader yields and everything downstream speaks in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

View = Literal["frontal", "lateral"]
Split = Literal["train", "val", "test", "external"]

ATTRIBUTES = ("age", "male", "anteroposterior")
"""Age in years; 1 or 0 for the others."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where a radiologist saw a finding: centre and size as fractions of the upright image's width and height."""

    finding: str
    x: float
    y: float
    width: float
    height: float

    def within(self, width: int, height: int, region: tuple[int, int, int, int]) -> Box:
        """The box as fractions of a region of the image, given in its pixels: left, top, right and bottom."""
        left, top, right, bottom = region
        across, down = width / (right - left), height / (bottom - top)
        x, y = (self.x - left / width) * across, (self.y - top / height) * down
        return Box(self.finding, x, y, self.width * across, self.height * down)


@dataclass(frozen=True, slots=True)
class StudyImage:
    """One radiograph of a study: the file that holds it, its projection where the source names it, and boxes."""

    path: Path
    view: View | None = None
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Study:
    """One examination: its images and the text a radiologist wrote about them.

    `mesh` holds human codes as the source spells them (`Cardiomegaly/mild`); `labels` holds findings by name where
    the source labels them directly: True present, False absent, None not labelled. `attributes` are what it says of
    patient and exposure beside that, by the names in `ATTRIBUTES`. `source` tells collections apart
    that were gathered into one: where the source gives a label away, scores across sources mean nothing.
    """

    id: str
    images: tuple[StudyImage, ...]
    findings: str = ""
    impression: str = ""
    indication: str = ""
    mesh: tuple[str, ...] = ()
    labels: tuple[tuple[str, bool | None], ...] = ()
    attributes: tuple[tuple[str, float], ...] = ()
    split: Split | None = None
    patient: str | None = None
    source: str | None = None

    @property
    def sections(self) -> dict[str, str]:
        """The report as section name to text."""
        return {"findings": self.findings, "impression": self.impression}
