"""Whether texts say what was decided, on reports made by hand."""

from __future__ import annotations

from dataclasses import replace

from app.report import Finding
from app.text.tokenizer import words
from model_training.data import Study
from model_training.evaluation.consistency import score_consistency
from model_training.evaluation.generation import GeneratedReport
from tests.model_training.reports import generated, report

SECTIONS = ("findings", "impression")


def one(text: str, *, present: bool) -> GeneratedReport:
    """A report of that text, its head deciding on an effusion."""
    made = report(text)
    hypothesis = replace(made.hypotheses[0], token_texts=("<findings>", *words(text)))
    finding = Finding("effusion", 0.6, present, 0.5)
    return generated(Study("1", ()), replace(made, hypotheses=(hypothesis,), findings=(finding,)), [])


def test_texts_are_held_against_decisions() -> None:
    """Said once is exact; left out, invented, repeated, or denied without being ruled out is not."""
    reports = [
        one("There is a pleural effusion.", present=True),
        one("The lungs are clear.", present=True),
        one("There is a pleural effusion.", present=False),
        one("Pleural effusion. Pleural effusion.", present=True),
        one("No pleural effusion.", present=False),
    ]
    scores = score_consistency(reports, SECTIONS)
    assert scores.exact
    assert scores.repeating
    assert (scores.reports, scores.exact.value, scores.repeating.value) == (5, 0.2, 0.2)
