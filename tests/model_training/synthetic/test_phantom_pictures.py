"""Phantom radiographs show what was drawn, by the physics of X-rays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_training.data.study import View
from model_training.synthetic.phantom import (
    FINDINGS,
    Acquisition,
    Phantom,
    attenuation,
    render,
    sample_finding,
    sample_phantom,
)
from model_training.synthetic.phantom.anatomy import build
from model_training.synthetic.phantom.body import Side
from model_training.synthetic.phantom.geometry import Array, Beads, Solid, bezier, common, f32, tube, union_length
from model_training.synthetic.phantom.projection import Rays
from model_training.synthetic.phantom.render import WATER, expose

SIDED = [name for name in FINDINGS if name != "cardiomegaly"]
STILL = Acquisition(0, 0, (0, 0), 400, 1e7, 1, 0, "", (0.9, 0.1), (0, 0, 0, 0))


def still(seed: int) -> Phantom:
    """A healthy body, both views taken straight and without marker."""
    return replace(sample_phantom(seed), frontal=STILL, lateral=STILL, findings=())


def with_finding(body: Phantom, name: str, side: Side) -> Phantom:
    return replace(body, findings=(sample_finding(np.random.default_rng(body.seed), name, side),))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", SIDED)
def test_a_finding_changes_the_picture_on_its_own_side(name: str, side: Side) -> None:
    body = still(11)
    sick = with_finding(body, name, side)
    own = np.s_[:, 80:] if side == "left" else np.s_[:, :80]  # the patient's left is on the image's right
    matter = attenuation(sick, "frontal", 160) - attenuation(body, "frontal", 160)
    # A device reaches over to the heart, and a raised left diaphragm lifts the heart.
    assert np.abs(matter[own]).sum() > (0.6 if name == "device" else 0.85) * np.abs(matter).sum()
    seen = render(sick, "frontal", 160) - render(body, "frontal", 160)
    visible = np.abs(seen) > 0.05
    assert visible.sum() > 40
    assert visible[own].sum() > 0.6 * visible.sum()
    # Gas makes its side darker somewhere, everything else only brighter.
    assert (np.percentile(seen[own], 1) < -0.05) == (name == "pneumothorax")


def test_cardiomegaly_widens_the_heart_to_the_ratio_drawn() -> None:
    body = still(12)
    y, u = f32(np.arange(0, -110, -1)), f32(np.arange(-160, 160, 0.5))
    for phantom, ratio in (
        (body, body.heart_ratio),
        (sick := with_finding(body, "cardiomegaly", "left"), sick.findings[0].extent),
    ):
        chambers = Rays(y, u, "frontal", 0).cross(build(phantom, 1.5).heart)
        covered = u[np.any([far > near for near, far in chambers], axis=(0, 1))]
        assert np.ptp(covered) / (2 * phantom.half_width) == pytest.approx(ratio, abs=0.02)


@pytest.mark.parametrize("name", ["nodule", "airspace opacity", "pleural effusion", "elevated diaphragm"])
def test_both_views_show_the_same_body(name: str) -> None:
    body = still(13)
    sick = with_finding(body, name, "right")
    middles, masses = [], []
    views: tuple[View, View] = ("frontal", "lateral")
    for view, centre in zip(views, (-12.0, -5.0), strict=True):
        matter = attenuation(sick, view, 160) - attenuation(body, view, 160)
        rows = matter.sum(axis=1)
        heights = centre - (np.arange(160) - 79.5) * STILL.field / 160
        middles.append((rows * heights).sum() / rows.sum())
        masses.append(rows.sum())
    assert middles[0] == pytest.approx(middles[1], abs=3)  # mm
    # How much an opacity takes from the air depends on how much air the ray meets, so it is only about the same.
    assert masses[0] == pytest.approx(masses[1], rel=0.35 if name == "airspace opacity" else 0.03)


def test_no_vessel_lies_beyond_the_pleural_line_of_a_pneumothorax() -> None:
    body = still(14)
    sick = with_finding(body, "pneumothorax", "left")
    healthy, collapsed = (build(p, 1.5).beads["frontal"] for p in (body, sick))
    lung = build(sick, 1.5).lungs["left"]
    beyond = 0
    for before, after in zip(healthy, collapsed, strict=True):
        if len(before.points) == len(after.points):
            continue  # only vessels are told by the lung they lie in
        left = after.points[after.points[:, 0] > 10]
        assert all(solid.contains(left).all() for solid in lung.lung)
        beyond += len(before.points) - len(after.points)
    assert beyond > 100


def test_chords_through_overlapping_solids_equal_sampling_along_the_ray() -> None:
    solids = [
        Solid.spheroid((-5, 3, 10), 40, 22, axis=(0.6, 0.5, -0.4), deep=1.3),
        Solid.spheroid((20, -8, -15), 25, 25),
        Solid.loft((0.0, 30.0), (12.0, 35.0)).shrunk(0.8, (10.0, 0.0)),
    ]
    y, u, angle = f32([12.0, -6.5]), f32(np.linspace(-45, 45, 37)), 0.3
    t = np.linspace(-120, 120, 4801)
    direction, across = (np.sin(angle), np.cos(angle)), (np.cos(angle), -np.sin(angle))
    intervals = [solid.interval(y, u, angle) for solid in solids]
    both = np.subtract(*reversed(common(intervals[:2]))).clip(0)
    for row, height in enumerate(y):
        for column, place in enumerate(u):
            ray = np.stack(
                [place * across[0] + t * direction[0], 0 * t + height, place * across[1] + t * direction[1]], 1
            )
            inside = [solid.contains(f32(ray)) for solid in solids]
            assert union_length(intervals)[row, column] == pytest.approx(np.any(inside, 0).sum() * 0.05, abs=0.3)
            assert both[row, column] == pytest.approx((inside[0] & inside[1]).sum() * 0.05, abs=0.3)


@pytest.mark.parametrize("view", ["frontal", "lateral"])
def test_projected_beads_keep_their_mass_and_thickness(view: View) -> None:
    axis = f32((np.arange(128) - 63.5) * 1.5)
    rays = Rays(-axis, axis, view, 0)
    ball = rays.thickness([Beads.ball((3, 4, 5), 18, 0.5)])
    assert ball.sum() * 1.5**2 == pytest.approx(0.5 * 4 / 3 * np.pi * 18**3, rel=1e-3)
    assert ball.max() == pytest.approx(0.5 * 36, rel=0.03)
    rod = rays.thickness([tube(bezier([(0, -50, 0), (0, 50, 0)], 0.5), 8.0, 1.0)])
    assert rod[64].max() == pytest.approx(16, rel=0.2)


def test_each_mm_of_water_darkens_the_film_and_never_more_than_beer_lambert_says() -> None:
    rng = np.random.default_rng(0)

    def recorded(thickness: float) -> float:
        return float(expose(np.full((16, 16), thickness, np.float32), 2.0, 1e9, rng).mean())

    depths = [recorded(thickness) for thickness in (0, 50, 100, 200, 300)]
    steps = np.diff(depths) / (50, 50, 100, 100)
    assert np.all(steps > 0)
    assert np.all(steps <= WATER * 1.001)
    assert steps[0] == pytest.approx(WATER, rel=0.02)


def test_air_is_dark_lung_is_grey_and_the_abdomen_is_bright() -> None:
    def mean(image: Array, height: float, out: float) -> float:
        row, column = (round(59.5 + mm * 120 / STILL.field) for mm in (-height - 12, out))
        return float(image[row - 2 : row + 3, column - 2 : column + 3].mean())

    for seed in range(15, 19):
        image = render(still(seed), "frontal", 120)
        air, lung, abdomen = mean(image, 180, -180), mean(image, 30, -70), mean(image, -130, 30)
        assert air < 0.15 < lung < 0.75 < abdomen


def test_a_frontal_only_study_has_no_lateral_view_to_render() -> None:
    body = replace(still(16), lateral=None)
    with pytest.raises(ValueError, match="lateral"):
        render(body, "lateral", 32)
