"""From the numbers of a phantom to its matter: the trunk, the lungs in their cavities, and all that is beads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from model_training.data.study import View
from model_training.synthetic.phantom import inserts
from model_training.synthetic.phantom.body import DrawnFinding, Phantom, Side
from model_training.synthetic.phantom.bones import Cage, arms, skeleton
from model_training.synthetic.phantom.geometry import HEIGHTS, Array, Beads, Solid, f32

SIDES: tuple[Side, Side] = ("right", "left")


@dataclass(frozen=True, eq=False)
class Lung:
    """One lung; groups of solids mean their intersection.

    The `lung` fills the pleural `cavity`, but for a rim of gas or of fluid where there is one. `film` is the lung
    without the visceral pleura where that shows. `opacity` is what is poured into its air.
    """

    cavity: tuple[Solid, ...]
    lung: tuple[Solid, ...]
    film: tuple[Solid, ...]
    rim_is_gas: bool
    diaphragm: Solid
    opacity: tuple[Beads, ...]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """All matter of a phantom: a `trunk` of water, `lungs` that `heart` and `mediastinum` indent, and the rest."""

    trunk: dict[View, tuple[Solid, ...]]
    lungs: dict[Side, Lung]
    heart: tuple[Solid, ...]
    mediastinum: tuple[Solid, ...]
    stomach_gas: Solid | None
    beads: dict[View, tuple[Beads, ...]]


def domes(phantom: Phantom) -> dict[Side, float]:
    """Height in mm of each diaphragm dome: the right one stands higher unless the left one is elevated."""
    right = -0.27 * phantom.lung_height - phantom.inspiration
    heights: dict[Side, float] = {"right": right, "left": right - 12}
    for side in SIDES:
        raised = phantom.drawn("elevated diaphragm", side)
        heights[side] += raised.extent if raised else 0
    return heights


@lru_cache(maxsize=4)
def build(phantom: Phantom, spacing: float) -> Anatomy:
    """The matter of a phantom, with beads about `spacing` mm apart along thin structures."""
    cage, dome = _cage(phantom), domes(phantom)
    heart, chambers = _heart(phantom, dome)
    lungs = {side: _lung(phantom, cage, side, dome[side]) for side in SIDES}
    beads = [*skeleton(cage, spacing), *inserts.airways(cage), *inserts.aorta(cage, phantom.aorta, heart)]
    beads.append(inserts.bowel_gas(np.random.default_rng((phantom.seed, 0)), min(dome.values())))
    for side, hilum in zip(SIDES, ((-36.0, 12.0, -12.0), (38.0, 20.0, -14.0)), strict=True):
        tree = inserts.vessels(np.random.default_rng((phantom.seed, 1, SIDES.index(side))), side, hilum, spacing)
        beads += _contained(tree, lungs[side].lung, (*chambers, lungs[side].diaphragm))
    for finding in phantom.findings:
        rng = np.random.default_rng((phantom.seed, 2))
        if finding.name == "nodule":
            beads += inserts.nodule(rng, finding)
        elif finding.name == "device":
            beads += inserts.device(rng, finding, cage, heart)
    return Anatomy(
        trunk={"frontal": _trunk(phantom, cage, lateral=False), "lateral": _trunk(phantom, cage, lateral=True)},
        lungs=lungs,
        heart=tuple(chambers),
        mediastinum=tuple(_mediastinum(cage, min(dome.values()))),
        stomach_gas=_stomach_gas(phantom, dome["left"]),
        beads={
            "frontal": (*beads, *arms(cage, raised=False, spacing=spacing)),
            "lateral": (*beads, *arms(cage, raised=True, spacing=spacing)),
        },
    )


def _profile(*knots: tuple[float, float]) -> Array:
    """A smooth curve over HEIGHTS near the given (height, value) knots in mm."""
    height, value = zip(*sorted(knots), strict=True)
    window = np.hanning(81)  # 40 mm
    padded = np.pad(np.interp(HEIGHTS, height, value), 40, mode="edge")
    return f32(np.convolve(padded, window / window.sum(), mode="valid"))


def _quarter(fraction: Array) -> Array:
    """A quarter circle: 0 up to fraction 0, rising to 1 at fraction 1 and staying there."""
    return np.asarray(np.sqrt(1 - (1 - np.clip(fraction, 0, 1)) ** 2))


def _cage(phantom: Phantom) -> Cage:
    top, wide = phantom.lung_height / 2, phantom.half_width
    opening = _quarter((top - HEIGHTS) / phantom.lung_height)
    apex = 0.315 * wide
    half_width = (apex + (wide - apex) * opening) * (1 - 0.05 * np.clip((-60 - HEIGHTS) / 60, 0, 3))
    half_depth = phantom.half_depth * (0.43 + 0.57 * opening)
    bulge = np.exp(-(((HEIGHTS - 25) / 105) ** 2))
    centre = -14 * (1 - opening) - phantom.kyphosis * (bulge - 0.6)
    return Cage(top, f32(half_width), f32(half_depth), f32(centre), f32(phantom.scoliosis * np.sin(HEIGHTS / 55)))


def _heart(phantom: Phantom, dome: dict[Side, float]) -> tuple[tuple[float, float, float], list[Solid]]:
    """Centre and chambers of the heart, on the lower dome; it enlarges to the left and up."""
    enlarged = phantom.drawn("cardiomegaly")
    k = (enlarged.extent if enlarged else phantom.heart_ratio) * phantom.half_width / 60.5
    x, y, z = centre = (19 * k - 1, min(dome.values()) + 29 * k, 22.0)
    return centre, [
        Solid.spheroid(centre, 64 * k, 45 * k, axis=(0.78, -0.45, 0.40), deep=1.25),  # ventricles
        Solid.spheroid((x - 27 * k, y + 14 * k, z - 10), 44 * k, 33 * k, deep=1.3),  # right atrium
        Solid.spheroid((4, y + 34 * k, -22), 34 * k, 38 * k),  # left atrium
        Solid.spheroid((x - 7 * k, y + 30 * k + 22, 12), 60, 17 + 15 * k, axis=(-0.18, 1, -0.1)),  # outflow tracts
    ]


def _mediastinum(cage: Cage, floor: float) -> list[Solid]:
    top = cage.top
    vessels = _profile(
        (-300, 30), (top - 130, 33), (top - 95, 40), (top - 60, 36), (top - 25, 32), (top, 38), (top + 30, 60)
    )
    spine = cage.centre - cage.half_depth + 31
    return [
        Solid.loft((0.5 * cage.sway + 2, cage.centre - 4), (vessels, 42.0)).above(top - 150),
        Solid.loft((cage.sway, spine), (24.0, 23.0)),
        Solid.loft((cage.sway + 4, spine + 30), (29.0, 30.0)),  # oesophagus, descending aorta
        Solid.loft((3.0, cage.centre + 15), (66.0, 75.0), np.clip((floor + 2 - HEIGHTS) / 25, 0, 1)),  # below the heart
    ]


def _lung(phantom: Phantom, cage: Cage, side: Side, dome: float) -> Lung:
    s, k, top = inserts.sign(side), phantom.half_width / 140, cage.top
    swell = _quarter((top - HEIGHTS) / 62)
    cavity: tuple[Solid, ...] = (
        Solid.loft((0.0, cage.centre), (cage.half_width, cage.half_depth)),
        Solid.loft((s * k * (45 + 47 * swell), cage.centre), (84 * k, 135.0), swell**2),
    )
    depth = np.clip((dome - HEIGHTS) / 72, 0, None)
    fall = np.where(depth < 1, depth * (2 - depth), 1 + 0.6 * (depth - 1))
    diaphragm = Solid.loft((s * 70 * k, cage.centre + 20), (82 * k, phantom.half_depth * 1.22), fall)
    lung, film = cavity, tuple[Solid, ...]()
    rim = phantom.drawn("pleural effusion", side) or phantom.drawn("pneumothorax", side)
    gas = rim is not None and rim.name == "pneumothorax"
    if rim:
        factor, hilum = _shrinkage(cage, rim, dome), (s * 34.0, 5.0)
        lung = tuple(solid.shrunk(factor, hilum) for solid in cavity)
        film = tuple(solid.shrunk(0.98, hilum) for solid in lung) if gas else ()
    opacity = phantom.drawn("airspace opacity", side)
    poured = inserts.opacity(np.random.default_rng((phantom.seed, 3)), opacity) if opacity else []
    return Lung(cavity, lung, film, gas, diaphragm, tuple(poured))


def _shrinkage(cage: Cage, rim: DrawnFinding, dome: float) -> Array:
    """The share of its width that fluid or gas around it leaves the lung at each height."""
    if rim.name == "pleural effusion":
        level = dome - 24 + 80 * rim.extent
        meniscus = 48 + 25 * rim.extent  # the fluid creeps up the wall
        return f32(np.clip((HEIGHTS - level) / meniscus, 0, 1) ** 0.3)
    end = cage.top - 95 - 2.2 * (rim.extent - 16)
    gap = rim.extent * np.clip((HEIGHTS - end) / (cage.top - end), 0, 1) ** 0.55
    fallen = _quarter((cage.top - 1.1 * rim.extent - HEIGHTS) / 45)  # the apex comes down
    return f32((1 - gap / cage.half_width) * fallen)


def _stomach_gas(phantom: Phantom, dome: float) -> Solid | None:
    """The bubble under the left dome with its fluid level: the patient stands."""
    if phantom.stomach_gas < 0.35:
        return None
    height = 10 + 14 * phantom.stomach_gas
    middle = dome - 9 - height
    return Solid.spheroid((62, middle, 18), height, 24 + 14 * phantom.stomach_gas).above(middle - height / 2)


def _trunk(phantom: Phantom, cage: Cage, lateral: bool) -> tuple[Solid, ...]:
    """The skin's outline: chest, shoulders and neck, arms, breasts. The arms are raised for the lateral view."""
    top, fat = cage.top, phantom.fat
    wide = phantom.half_width + 12 + 0.55 * fat
    shoulder = (156 if lateral else 190) * (1.02 if phantom.sex == "male" else 0.97)
    outline = _profile(
        (-360, wide + 6 + 0.4 * fat), (-150, wide), (-20, wide + 4), (top - 90, wide + 8), (top - 55, shoulder - 4),
        (top - 20, shoulder), (top + 5, 0.9 * shoulder), (top + 26, 112), (top + 45, 70), (top + 70, 56), (360, 55),
    )  # fmt: skip
    chest = np.arange(-300, top - 45, 15)
    back, front = (cage.at(cage.centre + d * cage.half_depth, chest) for d in (-1, 1))
    behind = _profile(
        *zip(chest, back - 20 - 0.3 * fat, strict=True),
        (top, -72 - 0.3 * fat), (top + 45, -66 - 0.2 * fat), (top + 90, -58), (360, -58),
    )  # fmt: skip
    belly = 0.5 * fat * np.clip((-120 - chest) / 180, 0, 1)
    before = _profile(
        *zip(chest, front + 14 + 0.4 * fat + belly, strict=True),
        (top - 10, 52 + 0.2 * fat), (top + 40, 48), (top + 90, 46), (360, 46),
    )  # fmt: skip
    solids = [Solid.loft((0.0, (before + behind) / 2), (outline, (before - behind) / 2))]
    bust = np.interp(HEIGHTS, (-112, -104, -92, -76, -45, -10, 20), (0, 0.5, 0.85, 1, 0.5, 0.1, 0))
    for s in (-1, 1):
        solids.append(_arm(s, top, fat, raised=lateral))
        if phantom.breast:
            solids.append(Solid.loft((s * 82.0, before - 14), (76.0, 46 * phantom.breast), bust))
    return tuple(solids)


def _arm(s: int, top: float, fat: float, raised: bool) -> Solid:
    if raised:
        level = np.clip((HEIGHTS - (top - 110)) / 170, 0, 1) ** 1.5
        edge = 46 + 0.9 * np.clip(HEIGHTS - (top - 70), 0, None)  # its front goes on from the chest's
        return Solid.loft((s * 108.0, edge - 58 * np.sqrt(level)), (46.0, 58.0), level)
    outwards = 170 + 0.16 * np.clip(top - 30 - HEIGHTS, 0, None)
    return Solid.loft((s * outwards, -20.0), (38 + 0.3 * fat, 40.0), _quarter((top + 2 - HEIGHTS) / 50))


def _contained(beads: Sequence[Beads], within: Sequence[Solid], outside: Sequence[Solid]) -> list[Beads]:
    """The beads whose centres lie in all solids of the one group and in none of the other."""
    points = np.concatenate([b.points for b in beads])
    keep = np.ones(len(points), dtype=np.bool_)
    for solid in within:
        keep &= solid.contains(points)
    for solid in outside:
        keep &= ~solid.contains(points)
    ends = np.cumsum([len(b.points) for b in beads])[:-1]
    return [b.only(part) for b, part in zip(beads, np.split(keep, ends), strict=True)]
