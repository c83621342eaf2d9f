"""What is served, and how reports are asked for: all that the layers above need know of it. Nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from app.inference.manifest import Threshold
from app.inference.options import OPERATING_POINTS, DecodingOptions, OperatingPoint
from app.report import Report

Image = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]  # [H,W]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask of this checkpoint."""

    max_views: int
    max_new_tokens: int
    max_rows: int
    max_queue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A checkpoint, where and how it runs, what it takes and gives."""

    name: str
    version: str
    sha256: str
    device: str
    precision: str
    intended_use: str
    training_data: Sequence[str]
    metrics: Mapping[str, Any]
    image_size: int
    section_names: tuple[str, ...]
    finding_names: tuple[str, ...]
    view_names: tuple[str, ...]
    views_read: tuple[str, ...]
    operating_points: Mapping[OperatingPoint, Mapping[str, Threshold]]
    default_options: DecodingOptions
    limits: Limits


class ReportGenerator(Protocol):
    """A model at work; `app.inference.generator.Generator` is one."""

    @property
    def model(self) -> ServedModel:
        """What it serves."""
        ...

    @property
    def ready(self) -> bool:
        """Whether it is warm and takes studies."""
        ...

    @property
    def alive(self) -> bool:
        """Whether its engine runs."""
        ...

    @property
    def queue_depth(self) -> int:
        """Studies waiting for rows."""
        ...

    @property
    def turn_seconds(self) -> float:
        """How long the engine's turn at work has lasted; 0 while idle."""
        ...

    def retry_after(self) -> float:
        """Seconds until the queue of now is worked off, at the rate of late."""
        ...

    def warm_up(self) -> None:
        """Runs studies of its own."""
        ...

    def submit(
        self,
        images: Sequence[Image],
        options: DecodingOptions,
        deadline: float | None = None,
        tag: object = None,
        *,
        operating_point: OperatingPoint = OPERATING_POINTS[0],
        heatmaps: bool = False,
    ) -> Future[Report]:
        """Queues one study."""
        ...

    def close(self, drain_seconds: float = 0.0) -> None:
        """Takes no more studies, finishes what is in flight within `drain_seconds`, fails the rest."""
        ...
