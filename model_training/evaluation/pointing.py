"""The pointing game: does the brightest place of a heatmap lie in a box that whoever knows drew around the finding?

Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, without their tolerance of 15 pixels: of
every finding that has a box, and of those that the report states, where its sentence points and where its box lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.report import Heatmap, SentenceHeatmaps
from app.text.contradictions import named_findings
from model_training.data.study import Box
from model_training.evaluation.generation import GeneratedReport
from model_training.metrics.agreement import FloatArray
from model_training.metrics.bootstrap import Estimate, estimate, mean, share

CENTRE = (0.5, 0.5)
Rect = tuple[float, float, float, float]  # left, top, right, bottom as fractions of an image


@dataclass(frozen=True, slots=True)
class PointingScores:
    """Of one finding: images with boxes of it, the share of them that is hit, and the share that the middle of the
    image hits (where a centred Gaussian is brightest); 95% intervals for the first and its lead over the second."""

    images: int
    hit: Estimate
    middle: float
    lead: Estimate


@dataclass(frozen=True, slots=True)
class StatedScores:
    """Of one finding in one view, where the report rightly states it: images with boxes of it, the share in which the
    brightest place of the sentence's heatmap lies in one, the share that the middle of the image hits and the lead over
    it; and of the images in which the finding is given a box, how many, the share whose middle lies in one of the true
    ones, and the mean intersection over union with the nearest."""

    images: int
    hit: Estimate
    middle: float
    lead: Estimate
    boxed: int
    box_hit: Estimate | None
    overlap: Estimate | None


@dataclass(frozen=True, slots=True)
class _Pointed:
    """What comes of one image; the last two are None without a box."""

    hit: bool
    middle: bool
    box_hit: bool | None
    overlap: float | None


ALL = "all"


def score_stated(reports: Sequence[GeneratedReport]) -> dict[str, StatedScores]:
    """The scores by "finding, view", and those of `ALL` together.

    The reports must have heatmaps where the images have boxes.
    """
    games: dict[str, list[_Pointed]] = {}
    for one in reports:
        for i, image in enumerate(one.images):
            for finding in dict.fromkeys(box.finding for box in image.boxes):
                if sentence := _stating(one, finding):
                    boxes = [box for box in image.boxes if box.finding == finding]
                    pointed = _pointed(sentence.maps[i], boxes, _given(one, finding, i))
                    for name in (f"{finding}, {image.view or 'view unknown'}", ALL):
                        games.setdefault(name, []).append(pointed)
    return {name: _stated_row(games[name]) for name in sorted(games, key=lambda name: (name == ALL, name))}


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


def overlap(one: Rect, box: Box) -> float:
    """Intersection over union with a box."""
    left, top, right, bottom = one
    across = min(right, box.x + box.width / 2) - max(left, box.x - box.width / 2)
    down = min(bottom, box.y + box.height / 2) - max(top, box.y - box.height / 2)
    both = max(0.0, across) * max(0.0, down)
    return both / ((right - left) * (bottom - top) + box.width * box.height - both)


def _stating(one: GeneratedReport, finding: str) -> SentenceHeatmaps | None:
    """The first sentence of the report that states a finding as there."""
    names = tuple(known.name for known in one.report.findings)
    for sentence in one.report.heatmaps.sentences if one.report.heatmaps else ():
        for mention, about in named_findings(sentence.text, names):
            if mention.status == "present" and finding in {names[i] for i in about}:
                return sentence
    return None


def _given(one: GeneratedReport, finding: str, image: int) -> Rect | None:
    """The box that the report gives a finding in an image."""
    places = (place for known in one.report.findings if known.name == finding for place in known.locations)
    return next((place.box for place in places if place.image == image), None)


def _pointed(seen: Heatmap, boxes: Sequence[Box], given: Rect | None) -> _Pointed:
    hit, middle = hits(brightest(seen), boxes), hits(CENTRE, boxes)
    if given is None:
        return _Pointed(hit, middle, None, None)
    left, top, right, bottom = given
    inside = hits(((left + right) / 2, (top + bottom) / 2), boxes)
    return _Pointed(hit, middle, inside, max(overlap(given, box) for box in boxes))


def _stated_row(pointed: Sequence[_Pointed]) -> StatedScores:
    row = _row(np.array([(one.hit, one.middle) for one in pointed], dtype=np.float64))
    overlaps = [one.overlap for one in pointed if one.overlap is not None]
    return StatedScores(
        row.images,
        row.hit,
        row.middle,
        row.lead,
        boxed=len(overlaps),
        box_hit=share([one.box_hit for one in pointed if one.box_hit is not None]),
        overlap=mean(overlaps),
    )


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
