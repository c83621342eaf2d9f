"""The pointing game by cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.report import Finding, FindingHeatmaps, Heatmap, Heatmaps, Location, SentenceHeatmaps
from model_training.data.study import Box, Study, StudyImage, View
from model_training.evaluation.generation import GeneratedReport
from model_training.evaluation.pointing import brightest, hits, overlap, score_pointing, score_stated
from tests.model_training.reports import generated, report

WHOLE = (0.0, 0.0, 1.0, 1.0)


def seen(*levels: tuple[int, int], box: tuple[float, float, float, float] = WHOLE) -> Heatmap:
    """A grid of two rows."""
    return Heatmap(0, levels, 0.5, box)


def played(levels: tuple[tuple[int, int], ...], *boxes: Box) -> GeneratedReport:
    """A study whose finding "effusion" was looked for there, and is in the boxes."""
    image = StudyImage(Path("x.png"), boxes=boxes)
    heatmaps = Heatmaps((FindingHeatmaps("effusion", (seen(*levels),)),), ())
    return generated(Study("1", (image,)), replace(report("x"), heatmaps=heatmaps), [image])


def test_the_brightest_place_is_the_middle_of_its_cell() -> None:
    """As a fraction of the image, also where the grid reaches beyond it."""
    assert brightest(seen((0, 9), (3, 4))) == (0.75, 0.25)
    assert brightest(seen((0, 9), (3, 255), box=(-0.5, 0.0, 1.5, 1.0))) == (1.0, 0.75)


def test_a_box_is_hit_within_its_bounds() -> None:
    """Any of several will do."""
    near, far = Box("effusion", 0.2, 0.2, 0.2, 0.2), Box("effusion", 0.8, 0.8, 0.1, 0.4)
    assert hits((0.3, 0.1), [near])
    assert not hits((0.31, 0.1), [near])
    assert hits((0.8, 0.99), [near, far])
    assert not hits((0.8, 0.8), [])


def test_the_model_plays_against_the_middle_of_the_image() -> None:
    """One hit of two, one of them where the middle hits as well."""
    corner, middle = Box("effusion", 0.25, 0.75, 0.2, 0.2), Box("effusion", 0.5, 0.5, 0.2, 0.2)
    rows = score_pointing([played(((0, 1), (9, 0)), corner), played(((0, 1), (9, 0)), middle)])
    assert list(rows) == ["effusion"]
    assert rows["effusion"].images == 2
    assert rows["effusion"].hit.value == 0.5
    assert rows["effusion"].middle == 0.5
    assert rows["effusion"].lead.value == 0
    assert rows["effusion"].lead.low == pytest.approx(-1)


def test_findings_without_a_map_or_a_box_are_not_played() -> None:
    """A model that does not know the finding is not blamed for it."""
    assert score_pointing([played(((0, 1), (9, 0)), Box("mass", 0.5, 0.5, 1, 1)), played(((0, 1), (9, 0)))]) == {}


def stated(text: str, *, view: View | None, place: tuple[float, float, float, float] | None) -> GeneratedReport:
    """A study with an effusion below on the left of the image, its sentence looking there, and maybe a box."""
    locations = (Location(0, None, None, place),) if place else ()
    maps = SentenceHeatmaps("findings", text, "evidence", ("effusion",), (seen((0, 1), (9, 0)),))
    image = StudyImage(Path("x.png"), view, (Box("effusion", 0.25, 0.75, 0.2, 0.2),))
    made = replace(
        report(text),
        findings=(Finding("effusion", 0.9, True, 0.5, locations), Finding("nodule", 0.1, False, 0.5)),
        heatmaps=Heatmaps((), (maps,)),
    )
    return generated(Study("1", (image,)), made, [image])


def test_sentences_are_played_where_they_are_right() -> None:
    """By finding and view, and all together; a sentence that denies the finding plays no part."""
    rows = score_stated(
        [
            stated("There is a pleural effusion.", view="frontal", place=(0.15, 0.65, 0.35, 0.95)),
            stated("Pleural effusion.", view="frontal", place=(0.6, 0.6, 1.0, 1.0)),
            stated("A large pleural effusion.", view="lateral", place=None),
            stated("No pleural effusion.", view="frontal", place=None),
        ]
    )
    assert list(rows) == ["effusion, frontal", "effusion, lateral", "all"]
    frontal, lateral = rows["effusion, frontal"], rows["effusion, lateral"]
    assert (frontal.images, lateral.images, rows["all"].images) == (2, 1, 3)
    assert frontal.hit.value == 1
    assert (frontal.middle, frontal.lead.value) == (0, 1)
    assert frontal.boxed == 2
    assert frontal.box_hit
    assert frontal.box_hit.value == 0.5
    assert frontal.overlap
    assert frontal.overlap.value == pytest.approx((0.04 / 0.06) / 2)
    assert (lateral.boxed, lateral.box_hit, lateral.overlap) == (0, None, None)


def test_boxes_overlap_by_the_share_of_both() -> None:
    """1 of a box and itself, 0 of boxes apart."""
    box = Box("effusion", 0.5, 0.5, 0.2, 0.4)
    assert overlap((0.4, 0.3, 0.6, 0.7), box) == pytest.approx(1)
    assert overlap((0.5, 0.3, 0.7, 0.7), box) == pytest.approx(1 / 3)
    assert overlap((0.7, 0.3, 0.9, 0.7), box) == 0
