"""From which share of the evidence on a side and a zone are said, by boxes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from app.inference.anatomy import Cells
from app.inference.chest import find_chest
from app.report import Side, Zone
from model_training.anatomy.places import BoxedFilm, PlaceShares, fit_places, in_square, least_share, side_of, zone_of
from model_training.data.study import Box
from tests.app.chests import chest

EVEN = Cells(0.0, 1 / 8)


@pytest.mark.parametrize(
    ("x", "y", "side", "zone"),
    [
        (0.3, 0.2, "right", "upper"),
        (0.3, 0.45, "right", "middle"),
        (0.7, 0.9, "left", "lower"),
        (0.55, 0.3, None, "upper"),
    ],
)
def test_where_a_box_lies(x: float, y: float, side: Side | None, zone: Zone) -> None:
    """The image's left is the patient's right; a box across the midline is on no side; zones go by the box's middle."""
    seen = find_chest(chest())
    assert seen is not None
    box = Box("mass", x, y, 0.2, 0.1)
    assert (side_of(box, seen), zone_of(box, seen)) == (side, zone)


def test_boxes_of_the_image_in_the_square() -> None:
    """Of an image that fills the middle half of the square from side to side, boxes become half as wide."""
    box = in_square(Box("mass", 0.5, 0.25, 0.2, 0.1), (-0.5, 0.0, 1.5, 1.0))
    assert (box.x, box.y, box.width, box.height) == pytest.approx((0.5, 0.25, 0.1, 0.1))


@pytest.mark.parametrize(
    ("shares", "hits", "least"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5], [1, 1, 1, 1, 1], 0.5),
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 1, 1, 1, 1, 0], 0.5),
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.5], [1, 1, 1, 1, 1, 0], None),  # one share is one decision
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0, 1, 1, 1, 1, 1], None),
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 1, 1], None),
        ([], [], None),
    ],
)
def test_least_share(shares: list[float], hits: list[int], least: float | None) -> None:
    """It is as low as lets nine in ten be right, and is none where so many never are, or too few are said."""
    assert least_share(zip(shares, map(bool, hits), strict=True), 0.9) == least


def evidence(row: int, column: int, strength: float) -> Tensor:
    grid = torch.zeros(8, 8)
    grid[row, column] = strength
    return grid.flatten()


def boxed(finding: str, *, right: bool, hit: bool, strength: float) -> BoxedFilm:
    """A film with a box at the base of a lung, and evidence for both findings there or over the other one."""
    column = 2 if right == hit else 5
    box = Box(finding, 0.3 if right else 0.7, 0.68, 0.1, 0.1)
    seen = evidence(5, column, strength)
    return BoxedFilm(torch.stack([seen, seen, seen], 1), chest(), (box,))


def test_fit() -> None:
    """Strong evidence that is right lets sides be said, weak evidence that is wrong does not; findings with few boxes
    go by those of all, findings without and those of the midline have no place."""
    films = [boxed("mass", right=i % 2 == 0, hit=True, strength=9.0) for i in range(16)]
    films += [boxed("mass", right=i % 2 == 0, hit=False, strength=3.0) for i in range(4)]
    films += [boxed("effusion", right=i % 2 == 0, hit=True, strength=9.0) for i in range(2)]
    films += [boxed("cardiomegaly", right=True, hit=True, strength=9.0) for i in range(20)]
    fitted = fit_places(films, ("mass", "effusion", "cardiomegaly"), EVEN)
    side_from, zone_from = fitted["mass"].side_from, fitted["mass"].zone_from
    assert side_from is not None
    assert zone_from is not None
    assert 0.8 < side_from < 1
    assert fitted["effusion"] == fitted["mass"]
    assert fitted["cardiomegaly"] == PlaceShares()
    assert fit_places(films, ("nodule", "mass", "effusion"), EVEN)["nodule"] == PlaceShares()


def test_films_without_a_chest_do_not_count() -> None:
    """Boxes of films in which no chest is seen are passed over."""
    films = [boxed("mass", right=True, hit=True, strength=9.0) for _ in range(16)]
    blind = [BoxedFilm(film.evidence, torch.zeros(5, 64, 64), film.boxes) for film in films]
    assert fit_places(blind, ("mass", "effusion", "hernia"), EVEN)["mass"] == PlaceShares()
