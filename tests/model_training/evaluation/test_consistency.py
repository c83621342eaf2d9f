"""Whether texts say what was decided, on reports made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from app.report import Finding, Location, Side
from app.text.tokenizer import words
from model_training.data import Study
from model_training.data.study import Box, StudyImage
from model_training.evaluation.consistency import score_consistency
from model_training.evaluation.generation import GeneratedReport
from tests.model_training.reports import generated, report

SECTIONS = ("findings", "impression")


def one(text: str, *, present: bool, side: Side | None = None, box: Box | None = None) -> GeneratedReport:
    """A report of that text, its head deciding on an effusion, with a side and boxes."""
    made = report(text)
    hypothesis = replace(made.hypotheses[0], token_texts=("<findings>", *words(text)))
    places = (Location(0, side, None, (0.0, 0.0, 1.0, 1.0)),) if side else ()
    finding = Finding("effusion", 0.6, present, 0.5, places)
    image = StudyImage(Path("1.png"), boxes=(box,) if box else ())
    return generated(Study("1", ()), replace(made, hypotheses=(hypothesis,), findings=(finding,)), [image])


def test_texts_are_held_against_decisions() -> None:
    """Said once is exact; left out, invented or repeated is not."""
    reports = [
        one("There is a pleural effusion.", present=True),
        one("The lungs are clear.", present=True),
        one("There is a pleural effusion.", present=False),
        one("Pleural effusion. Pleural effusion.", present=True),
    ]
    scores = score_consistency(reports, SECTIONS)
    assert (scores.reports, scores.exact.value, scores.repeating.value) == (4, 0.25, 0.25)
    assert (scores.sided, scores.right_side) == (0, None)


def test_sides_are_held_against_boxes_on_one_side() -> None:
    """The patient's right lies on the left of the image; a box across the middle is no measure."""
    left, right, both = (Box("effusion", x, 0.5, 0.2, 0.2) for x in (0.8, 0.2, 0.5))
    reports = [
        one("Left pleural effusion.", present=True, side="left", box=left),
        one("Left pleural effusion.", present=True, side="left", box=right),
        one("Left pleural effusion.", present=True, side="left", box=both),
    ]
    scores = score_consistency(reports, SECTIONS)
    assert scores.sided == 2
    assert scores.right_side
    assert scores.right_side.value == 0.5
