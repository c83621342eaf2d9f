"""The pointing game: does the brightest place of a finding's heatmap lie in a box that a radiologist drew?

Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, without their tolerance of 15 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.report import Heatmap
from model_training.data.study import Box
from model_training.evaluation.generation import GeneratedReport
from model_training.metrics.agreement import FloatArray
from model_training.metrics.bootstrap import Estimate, estimate

CENTRE = (0.5, 0.5)


@dataclass(frozen=True, slots=True)
class PointingScores:
    """Of one finding: images with boxes of it, the share of them that is hit, and the share that the middle of the
    image hits (where a centred Gaussian is brightest); 95% intervals for the first and its lead over the second."""

    images: int
    hit: Estimate
    middle: float
    lead: Estimate


def score_pointing(reports: Sequence[GeneratedReport]) -> dict[str, PointingScores]:
    """The scores by finding.

    The reports must have heatmaps where the images have boxes.
    """
    games: dict[str, list[tuple[bool, bool]]] = {}
    for one in reports:
        for i, image in enumerate(one.images):
            for finding in dict.fromkeys(box.finding for box in image.boxes):
                boxes = [box for box in image.boxes if box.finding == finding]
                if (seen := _map_of(one, finding, i)) is not None:
                    games.setdefault(finding, []).append((hits(brightest(seen), boxes), hits(CENTRE, boxes)))
    return {finding: _row(np.array(outcomes, dtype=np.float64)) for finding, outcomes in sorted(games.items())}


def brightest(heatmap: Heatmap) -> tuple[float, float]:
    """Where the map is highest: across and down as fractions of the image."""
    levels = np.array(heatmap.levels)
    row, column = np.unravel_index(levels.argmax(), levels.shape)
    left, top, right, bottom = heatmap.box
    across = left + (right - left) * (float(column) + 0.5) / levels.shape[1]
    return across, top + (bottom - top) * (float(row) + 0.5) / levels.shape[0]


def hits(point: tuple[float, float], boxes: Sequence[Box]) -> bool:
    """Whether a place, across and down, lies in any of the boxes."""
    return any(abs(point[0] - box.x) <= box.width / 2 and abs(point[1] - box.y) <= box.height / 2 for box in boxes)


def _map_of(one: GeneratedReport, finding: str, image: int) -> Heatmap | None:
    of_findings = one.report.heatmaps.findings if one.report.heatmaps else ()
    return next((maps.maps[image] for maps in of_findings if maps.name == finding), None)


def _row(outcomes: FloatArray) -> PointingScores:
    """`outcomes` [images, 2]: hit by the model, hit by the middle."""

    def share(weights: FloatArray) -> FloatArray:
        return np.asarray(weights @ outcomes[:, 0] / weights.sum(axis=-1))

    def lead(weights: FloatArray) -> FloatArray:
        return np.asarray(weights @ (outcomes[:, 0] - outcomes[:, 1]) / weights.sum(axis=-1))

    return PointingScores(
        images=len(outcomes),
        hit=estimate(share, len(outcomes)),
        middle=float(outcomes[:, 1].mean()),
        lead=estimate(lead, len(outcomes)),
    )
