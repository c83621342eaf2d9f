"""What the model is shown, what is left out, and the controls that tell seeing from memorisation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from app.inference.generator import Generator
from app.inference.options import DecodingOptions
from model_training.data import Study, StudyImage, read_collection
from model_training.evaluation.generation import (
    blank_control,
    choose_images,
    derangement,
    encode_only,
    generate,
    shuffled_control,
)


@pytest.fixture
def generator(tiny_checkpoint: Path) -> Iterator[Generator]:
    """The tiny model at work."""
    made = Generator.load(tiny_checkpoint, max_queue=128)
    yield made
    made.close()


def test_frontal_images_come_first_and_may_come_alone() -> None:
    """`--views 1` shows the frontal one, wherever the source has it."""
    lateral, unknown = StudyImage(Path("a"), "lateral"), StudyImage(Path("b"))
    frontal = StudyImage(Path("c"), "frontal")
    study = Study("1", (lateral, unknown, frontal))
    assert choose_images(study, 1) == (frontal,)
    assert choose_images(study, 4) == (frontal, lateral, unknown)
    assert choose_images(study, 4, "lateral") == (lateral,)


def test_a_shuffled_control_leaves_no_report_in_place(phantoms: Path, generator: Generator) -> None:
    """Every report goes to another study, and all are used."""
    for count in (2, 3, 50):
        order = derangement(count, seed=count)
        assert sorted(order) == list(range(count))
        assert all(i != place for place, i in enumerate(order))
    reports = generate(generator, read_collection(phantoms).split("val"), encode_only(DecodingOptions())).reports
    shuffled = shuffled_control(reports)
    assert [one.study for one in shuffled] == [one.study for one in reports]
    assert not any(one.report is other.report for one, other in zip(shuffled, reports, strict=True))


def test_a_blank_control_is_written_once_for_each_number_of_views(
    phantoms: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Studies of as many views share one report on black images."""
    options = DecodingOptions(num_beams=1, max_new_tokens=4)
    reports = generate(generator, read_collection(phantoms).split("val"), options).reports
    submit = Mock(wraps=generator.submit)
    monkeypatch.setattr(generator, "submit", submit)
    blank = blank_control(generator, reports, options)
    shown = [call.args[0] for call in submit.call_args_list]
    assert sorted(map(len, shown)) == [1, 2]
    assert not any(image.any() for images in shown for image in images)
    shared = {(len(one.images), id(one.report)) for one in blank}
    assert len(shared) == 2


def test_asking_the_heads_alone_gives_the_findings_of_a_whole_report(phantoms: Path, generator: Generator) -> None:
    """Calibration need not wait for words."""
    studies = read_collection(phantoms).split("val")
    options = DecodingOptions(num_beams=2, max_new_tokens=6)
    whole, short = (generate(generator, studies, o).reports for o in (options, encode_only(options)))
    for one, other in zip(whole, short, strict=True):
        assert other.report.hypotheses[0].tokens == 1
        assert [f.probability for f in one.report.findings] == pytest.approx(
            [f.probability for f in other.report.findings], abs=1e-6
        )


def test_studies_that_cannot_be_reported_on_are_left_out_by_reason(
    phantoms: Path, generator: Generator, tmp_path: Path
) -> None:
    """No image, no image of the view wanted, a file that is none; the others keep their order."""
    known = read_collection(phantoms).split("val")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    lateral = next(image for study in known for image in study.images if image.view == "lateral")
    studies = [
        known[0],
        Study("bare", ()),
        Study("broken", (StudyImage(tmp_path / "broken.png", "frontal"),)),
        Study("gone", (StudyImage(tmp_path / "gone.png", "frontal"),)),
        Study("sideways", (lateral,)),
        known[1],
    ]
    generated = generate(generator, studies, DecodingOptions(num_beams=1, max_new_tokens=2), view="frontal")
    assert [one.study for one in generated.reports] == [known[0], known[1]]
    assert generated.left_out == {
        "no frontal image": ["bare", "sideways"],
        "an image cannot be read": ["broken", "gone"],
    }


def test_more_studies_than_the_queue_holds_are_all_reported_on(phantoms: Path, generator: Generator) -> None:
    """In order, whatever finishes first."""
    studies = read_collection(phantoms).studies * 8
    reports = generate(generator, studies, DecodingOptions(num_beams=1, max_new_tokens=2), max_views=1).reports
    assert [one.study.id for one in reports] == [study.id for study in studies]
    assert {len(one.images) for one in reports} == {1}
