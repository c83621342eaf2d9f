"""Phantom studies: the same every time, a report that says what was drawn, files that read back."""

from __future__ import annotations

import argparse
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.text.labeller import label_report
from model_training.__main__ import main
from model_training.data import read_collection
from model_training.data.mesh import label_mesh
from model_training.synthetic.phantom import (
    FINDINGS,
    PhantomStudy,
    add_arguments,
    encode,
    generate_study,
    mesh_codes,
    render,
    run,
    sample_phantom,
    write_collection,
    write_report,
)
from model_training.synthetic.phantom.collection import ImageFormat


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
def test_image_files_read_back_within_their_precision(bits: int, image_format: ImageFormat, error: float) -> None:
    image = render(sample_phantom(2), "frontal", 96)
    decoded = Image.open(io.BytesIO(encode(image, bits, image_format)))
    assert decoded.format == image_format.upper()
    pixels = np.asarray(decoded, dtype=np.float64) / (2**bits - 1)
    assert np.abs(pixels - image).max() <= error + 1e-6


@pytest.mark.parametrize(("bits", "image_format"), [(16, "jpeg"), (12, "png"), (8, "bmp")])
def test_impossible_image_kinds_are_refused(bits: int, image_format: Any) -> None:
    with pytest.raises(ValueError, match="bit"):
        encode(np.zeros((4, 4), np.float32), bits, image_format)


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
    assert main(["phantom", *command]) == 2
    assert "not empty" in capsys.readouterr().err


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
