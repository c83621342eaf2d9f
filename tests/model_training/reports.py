"""Studies and reports made by hand, for whatever scores them."""

from __future__ import annotations

from collections.abc import Sequence

from app.report import Finding, Hypothesis, Report, Timing, ViewGuess
from model_training.data.study import Study, StudyImage
from model_training.evaluation.generation import GeneratedReport


def report(
    findings: str = "",
    impression: str = "",
    *,
    probabilities: Sequence[float] = (),
    score: float = -0.5,
    view: str = "",
) -> Report:
    """A report of one hypothesis; findings are named a, b, …"""
    sections = {name: text for name, text in (("findings", findings), ("impression", impression)) if text}
    hypothesis = Hypothesis(f"{findings}\n\n{impression}", sections, score, 5, "eos", (), ())
    heads = tuple(Finding(chr(97 + i), p, p >= 0.5, 0.5) for i, p in enumerate(probabilities))
    return Report((hypothesis,), heads, (ViewGuess(view, 0.9, read=True),) if view else (), (), Timing(0, 0, 0))


def generated(study: Study, made: Report, images: Sequence[StudyImage] = ()) -> GeneratedReport:
    """A study with a report on it."""
    return GeneratedReport(study, tuple(images), made)
