"""The draft report as the writers of this room take it: one record, from which every form is made."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from app.report import Measurement, Side, Zone

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

MANUFACTURER = "xray-report"
LABELS_NOTE = (
    "Findings are names that the model learnt from labels mined out of report texts: they are no diagnoses. "
    "Nobody has verified this draft."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a finding lies in image `image` (from 0): the patient's side and third of the lung as far as known, and a
    box: left, top, right, bottom in pixels of the image as its file has it, upright."""

    image: int
    side: Side | None
    zone: Zone | None
    box: tuple[float, float, float, float]

    def __str__(self) -> str:
        """For a reader, as in `left, lower zone`; "" where nothing is known."""
        side = {"both": "both sides"}.get(self.side or "", self.side)
        return ", ".join(filter(None, (side, self.zone and f"{self.zone} zone")))


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding, or that anything was found at all, with its calibrated probability, the decision, and the probability
    from which on it may be present: None where it is not told."""

    name: str
    probability: float
    present: bool
    threshold: float | None = None
    places: tuple[Place, ...] = ()

    @property
    def where(self) -> str:
        """Its places for a reader, each once; "" where none is known."""
        return "; ".join(dict.fromkeys(filter(None, map(str, self.places))))


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image of the study. `pixels` is [H,W], full scale being 255 or 65535; it shows `region` (left, top, right,
    bottom) of the file's `width` x `height`. `identity` tells it from other images: its SOP instance UID, or for want
    of one the SHA-256 of its file."""

    pixels: Pixels
    region: tuple[int, int, int, int]
    width: int
    height: int
    format: str
    sha256: str
    identity: str
    view: str
    view_probability: float
    read: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The report of one study, its model, and everything that is said beside the text."""

    id: str
    created: datetime
    model_name: str
    model_version: str
    model_sha256: str
    sections: Mapping[str, str]
    abnormal: Finding | None
    findings: tuple[Finding, ...]
    measurements: tuple[Measurement, ...]
    images: tuple[SourceImage, ...]
    options: Mapping[str, object]
    warnings: tuple[str, ...]
    disclaimer: str

    @property
    def decided(self) -> tuple[Finding, ...]:
        """All that is decided: whether anything was found, where that is, and the findings."""
        return (*([self.abnormal] if self.abnormal else []), *self.findings)

    @property
    def model(self) -> str:
        """Name and version."""
        return f"{self.model_name} {self.model_version}"

    def uid(self, *purpose: str) -> str:
        """A DICOM UID for `purpose`: the same images, in whatever order, model and options always give the same one.

        It is derived under the root for UUIDs, 2.25 (PS3.5, B.2), so that storing an answer twice changes nothing.
        """
        images = sorted(image.identity for image in self.images)
        options = sorted(f"{name}={value}" for name, value in self.options.items())
        return derived_uid(*purpose, *images, self.model_sha256, *options)


def derived_uid(*parts: str) -> str:
    """The UID under 2.25 that stands for these texts."""
    digest = sha256("\0".join(parts).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"
