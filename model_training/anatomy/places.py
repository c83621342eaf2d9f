"""From which shares of the evidence on a side and a zone are said, fitted to boxes that radiologists drew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.inference.anatomy import THIRDS, Anatomy, Cells, Shares
from app.inference.checkpoint import script
from app.inference.chest import Chest
from app.inference.network.encoder import make_encode
from app.report import Side, Zone
from app.text.findings import IMAGE_LABELS, MIDLINE
from model_training.data.study import Box
from model_training.model.report_model import ReportModel
from model_training.training.dataset import Examples
from model_training.training.teachers import BATCH

SIDE_RIGHT, ZONE_RIGHT = 0.95, 0.8  # of what is said of validation boxes
LEAST_BOXES = 15  # that a finding's own shares are fitted to
LEAST_SAID = 5  # boxes of which a place is said, or it is not known how often it is right

Outcome = tuple[float, bool]  # the greatest share of the evidence in one place, and whether the box lies there


@dataclass(frozen=True, eq=False)
class BoxedFilm:
    """A film as encoded, evidence f32[P,F] and anatomy f32[C,A,A] (`EncoderOutput`), and its boxes as fractions of the
    square that the network sees (`in_square`)."""

    evidence: Tensor
    anatomy: Tensor
    boxes: tuple[Box, ...]


@torch.inference_mode()
def boxed_films(model: ReportModel, examples: Examples) -> Iterator[BoxedFilm]:
    """The images of studies as the network encodes them, without augmentation, with their boxes."""
    encode = make_encode(script(model.eval()), "exact", torch.device("cpu"))
    for _, batch in examples.batches(BATCH):
        encoded = encode(batch.images)
        boxes: list[list[Box]] = [[] for _ in batch.images]
        for row, finding, *corners in batch.boxes.tolist():
            left, top, right, bottom = ((edge + 1) / 2 for edge in corners)
            middle = ((left + right) / 2, (top + bottom) / 2)
            boxes[int(row)].append(Box(examples.findings[int(finding)], *middle, right - left, bottom - top))
        for i, own in enumerate(boxes):
            yield BoxedFilm(encoded.evidence[i], encoded.anatomy[i], tuple(own))


@dataclass(frozen=True, slots=True)
class PlaceShares:
    """The least shares of the evidence for a finding from which on its side and its zone are said, None for never."""

    side_from: float | None = None
    zone_from: float | None = None


def in_square(box: Box, square: Sequence[float]) -> Box:
    """A box over an image as fractions of the square that the network sees of it, which an archive's method `square`
    gives as fractions of the image: left, top, right and bottom."""
    left, top, right, bottom = square
    across, down = right - left, bottom - top
    return Box(box.finding, (box.x - left) / across, (box.y - top) / down, box.width / across, box.height / down)


def side_of(box: Box, chest: Chest) -> Side | None:
    """The patient's side on which a box lies, None where it crosses the midline between the lungs."""
    midline = chest.midline / len(chest.right)
    if abs(box.x - midline) < box.width / 2:
        return None
    return "right" if box.x < midline else "left"


def zone_of(box: Box, chest: Chest) -> Zone:
    """The third of its lung in which the middle of a box lies."""
    height = chest.right_height if box.x * len(chest.right) < chest.midline else chest.left_height
    third = int((box.y * len(chest.right) - height.start) / height.length * len(THIRDS))
    return THIRDS[min(max(third, 0), len(THIRDS) - 1)]


def fit_places(films: Iterable[BoxedFilm], findings: Sequence[str], cells: Cells) -> dict[str, PlaceShares]:
    """The shares by finding; `findings` are the columns of the evidence in their order.

    They are the least at which what is said is right of `SIDE_RIGHT` of the boxes that lie on one side, and of
    `ZONE_RIGHT` of all boxes. Where a finding has fewer than `LEAST_BOXES`, those of all findings together count;
    without any box, and where a finding has no side, nothing is said of its place.
    """
    seen = [one for one in look(films, findings, cells) if IMAGE_LABELS.get(one.finding, one.finding) not in MIDLINE]
    together, fitted = _fit(seen), {}
    for finding in findings:
        own = [one for one in seen if one.finding == finding]
        fitted[finding] = _fit(own) if len(own) >= LEAST_BOXES else together if own else PlaceShares()
    return fitted


@dataclass(frozen=True, slots=True)
class Seen:
    """A box, by where it lies, and how the evidence for its finding is shared in that film."""

    finding: str
    side: Side | None
    zone: Zone
    shares: Shares


def look(films: Iterable[BoxedFilm], findings: Sequence[str], cells: Cells) -> Iterator[Seen]:
    """The boxes of `findings` in films that show a chest with evidence over its lungs."""
    for film in films:
        anatomy = Anatomy(film.anatomy, cells)
        for box in film.boxes:
            shares = anatomy.shares(film.evidence[:, findings.index(box.finding)]) if box.finding in findings else None
            if anatomy.chest and shares:
                yield Seen(box.finding, side_of(box, anatomy.chest), zone_of(box, anatomy.chest), shares)


def _fit(seen: Sequence[Seen]) -> PlaceShares:
    sides: list[Outcome] = []
    for one in seen:
        if one.side:
            share, side = one.shares.densest_side()
            sides.append((share, side == one.side))
    side_from = least_share(sides, SIDE_RIGHT)
    zones: list[Outcome] = []
    for one in seen:
        share, zone = one.shares.densest_zone(one.shares.side(side_from) if side_from is not None else None)
        zones.append((share, zone == one.zone))
    return PlaceShares(side_from, least_share(zones, ZONE_RIGHT))


def least_share(outcomes: Iterable[Outcome], right: float) -> float | None:
    """The least share from which on at least `right` of the outcomes are right, None where `LEAST_SAID` are not."""
    least, hits = None, 0
    ranked = sorted(outcomes, reverse=True)
    for count, (share, hit) in enumerate(ranked, 1):
        hits += hit
        last_of_share = count == len(ranked) or ranked[count][0] < share
        if last_of_share and count >= LEAST_SAID and hits >= right * count:
            least = share
    return least
