"""Phantom radiographs: the same study every time, a picture that shows what the report says, files that read back."""

from __future__ import annotations

import argparse
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.text.labeller import label_report
from model_training.data import read_collection
from model_training.data.mesh import label_mesh
from model_training.data.study import View
from model_training.synthetic.phantom import (
    FINDINGS,
    Acquisition,
    Phantom,
    PhantomStudy,
    add_arguments,
    attenuation,
    encode,
    generate_study,
    mesh_codes,
    render,
    run,
    sample_finding,
    sample_phantom,
    write_collection,
    write_report,
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


def same(one: PhantomStudy, other: PhantomStudy) -> bool:
    texts = (one.findings, one.impression, one.indication, one.mesh) == (
        other.findings, other.impression, other.indication, other.mesh
    )  # fmt: skip
    return texts and one.images.keys() == other.images.keys() and all(
        np.array_equal(image, other.images[view]) for view, image in one.images.items()
    )  # fmt: skip


def test_a_study_depends_on_its_seed_and_index_alone() -> None:
    forwards = [generate_study(3, index, 48) for index in range(4)]
    backwards = [generate_study(3, index, 48) for index in reversed(range(4))]
    assert all(same(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))
    assert not same(forwards[0], forwards[1])
    assert not same(forwards[0], generate_study(4, 0, 48))


def test_the_image_size_changes_neither_body_nor_report() -> None:
    small, large = generate_study(5, 1, 40), generate_study(5, 1, 90)
    assert (small.phantom, small.findings, small.impression) == (large.phantom, large.findings, large.impression)
    assert large.images["frontal"].shape == (90, 90)


def test_a_collection_is_the_same_from_one_process_and_from_two(tmp_path: Path) -> None:
    for processes in (1, 2):
        write_collection(tmp_path / str(processes), 6, seed=1, size=32, processes=processes, progress=False)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in "12")
    assert one == two
    assert len(one) > 6 + 3


@pytest.mark.parametrize(
    ("bits", "image_format", "error"), [(8, "png", 0.5 / 255), (16, "png", 0.5 / 65535), (8, "jpeg", 0.08)]
)
def test_image_files_read_back_within_their_precision(bits: int, image_format: str, error: float) -> None:
    image = render(still(2), "frontal", 96)
    decoded = Image.open(io.BytesIO(encode(image, bits, image_format)))  # type: ignore[arg-type]
    assert decoded.format == image_format.upper()
    pixels = np.asarray(decoded, dtype=np.float64) / (2**bits - 1)
    assert np.abs(pixels - image).max() <= error + 1e-6


@pytest.mark.parametrize(("bits", "image_format"), [(16, "jpeg"), (12, "png"), (8, "bmp")])
def test_impossible_image_kinds_are_refused(bits: int, image_format: str) -> None:
    with pytest.raises(ValueError, match="bit"):
        encode(np.zeros((4, 4), np.float32), bits, image_format)  # type: ignore[arg-type]


def test_the_reader_finds_every_study_of_a_written_collection_without_a_problem(tmp_path: Path) -> None:
    write_collection(tmp_path / "c", 20, seed=2, size=24, processes=1, progress=False, val=0.1, test=0.2)
    collection = read_collection(tmp_path / "c")
    assert collection.problems == ()
    assert Counter(study.split for study in collection.studies) == {"train": 14, "val": 2, "test": 4}
    for index, study in enumerate(collection.studies):
        made = generate_study(2, index, 24)
        assert (study.findings, study.impression, study.mesh) == (made.findings, made.impression, made.mesh)
        assert [image.view for image in study.images] == list(made.images)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(FileExistsError):
        write_collection(tmp_path, 1, seed=0, size=16, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["note"]


def test_the_command_writes_a_collection_and_a_contact_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    out, sheet = tmp_path / "c", tmp_path / "sheet.png"
    command = ["--out", str(out), "--studies", "2", "--size", "16", "--bits", "16", "--processes", "1"]
    args = parser.parse_args([*command, "--contact-sheet", str(sheet)])
    assert run(args) == 0
    with Image.open(sheet) as picture, Image.open(next((out / "images").iterdir())) as view:
        assert picture.width > picture.height
        assert view.mode == "I;16"
    assert run(args) == 2
    assert "not empty" in capsys.readouterr().out


def test_reports_and_codes_state_each_drawn_finding_with_its_side_and_no_other() -> None:
    for seed in range(400):
        phantom = sample_phantom(seed)
        drawn = {f.name: frozenset({f.side} if f.side else ()) for f in phantom.findings}
        findings, impression = write_report(phantom, np.random.default_rng(seed))
        for text in (findings, impression):
            said = {k: m.sides for k, m in label_report(text).items() if m.status != "absent" and k in FINDINGS}
            assert said == drawn, text
        assert {name: mention.sides for name, mention in label_mesh(mesh_codes(phantom)).items()} == drawn


def test_reports_vary_within_a_small_vocabulary() -> None:
    reports = [write_report(sample_phantom(seed), np.random.default_rng(seed)) for seed in range(1000)]
    words = {word.strip(".,").lower() for report in reports for text in report for word in text.split()}
    assert len(words) < 400
    assert len({findings for findings, _ in reports}) > 950
    assert 25 <= np.median([len(findings.split()) for findings, _ in reports]) <= 60


def test_about_two_in_five_studies_are_normal_and_sides_and_findings_are_balanced() -> None:
    phantoms = [sample_phantom(seed) for seed in range(2000)]
    assert np.mean([not p.findings for p in phantoms]) == pytest.approx(0.4, abs=0.04)
    assert np.mean([p.lateral is None for p in phantoms]) == pytest.approx(0.1, abs=0.03)
    counts = Counter(f.name for p in phantoms for f in p.findings)
    assert min(counts.values()) > 0.7 * max(counts.values())
    sides = Counter(f.side for p in phantoms for f in p.findings if f.side)
    assert sides["left"] / sides.total() == pytest.approx(0.5, abs=0.05)


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
        chambers = Rays(y, u, "frontal", 0).cross(build(phantom, 1.5).core[:4])
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
