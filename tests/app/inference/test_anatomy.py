"""What a map of lungs and heart says: the ratio of their widths, and where the evidence for a finding lies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from app.inference.anatomy import Anatomy, Cells
from app.report import Side, Zone
from tests.app import chests
from tests.app.chests import chest

SIDE = 8
EVEN = Cells(0.0, 1 / SIDE)  # positions that cover the square


def evidence(*peaks: tuple[int, int], strength: float = 12.0) -> Tensor:
    """Evidence f32[64] of 8 × 8 positions, high at some of these rows and columns."""
    grid = torch.zeros(SIDE, SIDE)
    for row, column in peaks:
        grid[row, column] = strength
    return grid.flatten()


@pytest.mark.parametrize("shift", [-2.0, 0.0, 0.3, 0.5, 3.7])
@pytest.mark.parametrize("heart", [8.0, 10.0, 12.4])
def test_ratio(heart: float, shift: float) -> None:
    """The width of the heart over that of the lungs is measured to a fifth of a cell, wherever the chest lies."""
    ratio = Anatomy(chest(heart=heart, shift=shift), EVEN).cardiothoracic_ratio()
    assert ratio == pytest.approx(2 * heart / 42, abs=0.2 * 1.5 / 42)


@pytest.mark.parametrize(
    ("peak", "side", "zone"),
    [
        ((1, 2), "right", "upper"),
        ((3, 2), "right", "middle"),
        ((5, 2), "right", "lower"),
        ((1, 5), "left", "upper"),
        ((3, 5), "left", "middle"),
        ((5, 5), "left", "lower"),
    ],
)
def test_place(peak: tuple[int, int], side: Side, zone: Zone) -> None:
    """The image's left is the patient's right; zones are thirds of the lung from above; the box lies around it."""
    place = Anatomy(chest(), EVEN).locate(evidence(peak), 0.9, 0.6)
    assert place is not None
    assert (place.side, place.zone) == (side, zone)
    left, top, right, bottom = place.box
    assert left < (peak[1] + 0.5) / SIDE < right
    assert top < (peak[0] + 0.5) / SIDE < bottom
    assert right - left < 0.3
    assert bottom - top < 0.3


def test_two_sides() -> None:
    """Evidence over both lungs alike is on no side, but in a zone where that is the same one; with most of it on one
    side it is there as soon as that holds enough."""
    anatomy = Anatomy(chest(), EVEN)
    either = anatomy.locate(evidence((5, 2), (5, 5)), 0.6, 0.6)
    assert either is not None
    assert (either.side, either.zone) == (None, "lower")
    mostly = evidence((5, 2), (5, 5))
    mostly[5 * SIDE + 5] -= math.log(3)
    assert [anatomy.locate(mostly, least, None)[0] for least in (0.9, 0.7)] == [None, "right"]  # type: ignore[index]  # it is there


def test_nothing_is_said_that_was_not_fitted() -> None:
    """Without a share from which on a side or a zone is said there is none, but still a box."""
    anatomy = Anatomy(chest(), EVEN)
    seen = [anatomy.locate(evidence((5, 2)), *shares) for shares in ((None, None), (0.9, None), (None, 0.6))]
    assert [place and place[:2] for place in seen] == [(None, None), ("right", None), (None, "lower")]


def test_evidence_everywhere_is_in_no_place() -> None:
    """Evidence that says nothing has no side and no zone, though it lies over both lungs."""
    place = Anatomy(chest(), EVEN).locate(torch.zeros(SIDE * SIDE), 0.9, 0.6)
    assert place is not None
    assert place.zone is None


def test_evidence_beside_the_thorax_is_in_no_place() -> None:
    """Evidence from below the lungs has neither side nor zone."""
    place = Anatomy(chest(), EVEN).locate(evidence((7, 0), (7, 1), strength=30.0), 0.5, 0.3)
    assert place is not None
    assert place[:2] == (None, None)


def test_positions_lie_where_the_encoder_sees_them() -> None:
    """Positions that are centred on the first pixel of their cells have their evidence half a cell further up and to
    the left; what reaches beyond the midline then lies on the other side."""
    anatomy = [Anatomy(chest(), Cells(first, 1 / SIDE)) for first in (0.0, -0.5 / SIDE)]
    boxes = [one.locate(evidence((3, 5)), None, None) for one in anatomy]
    assert boxes[0] is not None
    assert boxes[1] is not None
    for edge, moved in zip(boxes[0].box, boxes[1].box, strict=True):
        assert edge - moved == pytest.approx(0.5 / SIDE, abs=1.5 / chests.SIZE)
    assert [one.locate(evidence((3, 4)), 0.8, None)[0] for one in anatomy] == ["left", None]  # type: ignore[index]  # it is there


def cut() -> Tensor:
    """The film ends in the middle of the lung on the right of the image."""
    logits = chest()
    logits[:, :, 44:] = torch.tensor([-30.0, -30, -30, -30, 0])[:, None, None]
    return logits


@pytest.mark.parametrize(
    "logits",
    [
        torch.zeros(1, 1, 1),
        torch.zeros(5, 64, 64),
        chests.logits_of(torch.zeros(64, 64, dtype=torch.long)),
        chest(certain=0.8),
        chest(lungs=(44.0, 20.0)),
        torch.rot90(chest(), 1, (1, 2)),
        torch.rot90(chest(), 2, (1, 2)),
        torch.rot90(chest(), 3, (1, 2)),
        chest()[[0, 1, 0, 3, 4]],
        chest()[[0, 1, 2, 0, 4]],
        chest(shift=18),
        cut(),
    ],
    ids=["no head", "flat", "nothing", "unsure", "exchanged", "turned 90", "turned 180", "turned 270", "one lung",
         "no heart", "cut by the square", "cut by the film"],
)  # fmt: skip
def test_silence(logits: Tensor) -> None:
    """What does not look like the chest of an upright frontal film, seen whole, has neither ratio nor place."""
    anatomy = Anatomy(logits, EVEN)
    assert anatomy.cardiothoracic_ratio() is None
    assert anatomy.locate(evidence((5, 2)), 0.5, 0.3) is None
