"""The figures of a notebook: what is in them, read from the drawn objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from app.report import Finding, FindingHeatmaps, Heatmap, Heatmaps, Location, SentenceHeatmaps
from model_training.data import Study, read_collection
from model_training.data.study import Box
from model_training.evaluation.generation import GeneratedReport
from model_training.reporting import figures
from tests.model_training.reports import generated, report


@pytest.fixture(scope="module")
def studies(phantoms: Path) -> list[Study]:
    """Two with two views, one with the frontal view alone."""
    every = read_collection(phantoms).studies
    return [*[study for study in every if len(study.images) == 2][:2], replace(every[0], images=every[0].images[:1])]


def words(figure: Figure) -> str:
    """All titles and texts."""
    return "\n".join(
        text for axes in figure.axes for text in (axes.get_title(), axes.get_title("left"), *_texts(axes)) if text
    )


def _texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_films_stand_beside_their_reports(studies: list[Study]) -> None:
    """Every image once, in the row of its study, with its view."""
    figure = figures.films(studies)
    figure.draw_without_rendering()
    assert sum(len(axes.images) for axes in figure.axes) == 5
    told = words(figure)
    assert f"{studies[0].id}, lateral" in told
    assert all(f"FINDINGS: {study.findings[:20]}" in told for study in studies)
    with pytest.raises(ValueError, match="no study to show"):
        figures.films([])


def test_predictions_say_what_is_right(studies: list[Study]) -> None:
    """The findings that were named rightly, missed and invented, beside both texts."""
    study = replace(studies[0], mesh=(), findings="Left pleural effusion. The heart is large.", impression="")
    made = generated(study, report("There is a left pleural effusion. A nodule is seen."), study.images)
    told = words(figures.predictions([made], ("findings",)))
    assert "right: pleural effusion" in told
    assert "not there: nodule" in told
    assert "missed: cardiomegaly" in told
    assert "There is a left pleural effusion." in told.replace("\n", " ")


def looked(study: Study, text: str) -> GeneratedReport:
    """A report with one sentence on a finding that has a box, and that lies in a known one."""
    seen = Heatmap(0, ((0, 10), (20, 255)), 0.9, (0.0, 0.0, 1.0, 1.0))
    finding = Finding("nodule", 0.9, True, 0.5, (Location(0, "left", "lower", (0.6, 0.6, 0.9, 0.9)),))
    maps = Heatmaps(
        (FindingHeatmaps("nodule", (seen,)),), (SentenceHeatmaps("findings", text, "evidence", ("nodule",), (seen,)),)
    )
    image = replace(study.images[0], boxes=(Box("nodule", 0.7, 0.7, 0.1, 0.1), Box("effusion", 0.2, 0.2, 0.1, 0.1)))
    return generated(study, replace(report(text), findings=(finding,), heatmaps=maps), [image])


def test_heatmaps_lie_over_their_film(studies: list[Study]) -> None:
    """Film, map, the report's box and the known one of this finding; above, the sentence, if it states the finding."""
    said = (("A nodule is seen.", "A nodule is seen."), ("No nodule.", "no sentence states it"))
    for text, title in said:
        figure = figures.heatmaps([looked(studies[0], text), looked(studies[1], text)])
        figure.draw_without_rendering()
        (axes,) = figure.axes  # one finding, one column
        assert len(axes.images) == 2
        assert [p.get_linestyle() for p in axes.patches if isinstance(p, Rectangle)] == ["solid", "dashed"]
        assert title in axes.get_title()
    blind = replace(report("x"), findings=(Finding("nodule", 0.5, True, 0.1),))
    with pytest.raises(ValueError, match="without heatmaps"):
        figures.heatmaps([generated(studies[0], blind, studies[0].images)])


def test_scores_stand_beside_the_constant() -> None:
    """A bar a system, a score that a system lacks as such, the model's interval."""
    rows = {"model": 0.3, "shuffled images": 0.2, "blank image": 0.1, "best constant": 0.31}
    scores = {name: {"BLEU-4": value, "micro-F1": None} for name, value in rows.items()}
    bounds = {"BLEU-4": {"value": 0.3, "low": 0.25, "high": 0.35}}
    evaluation = {
        "metrics": {"scores": bounds},
        "details": {"tables": {"Findings": {"studies": 40, "scores": scores}}},
    }
    figure = figures.scores(evaluation)
    bleu, f1 = figure.axes
    assert [bar.get_width() for bar in bleu.patches if isinstance(bar, Rectangle)] == [0.31, 0.1, 0.2, 0.3]
    assert [np.asarray(line.get_xdata()).tolist() for line in bleu.lines] == [[0.25, 0.35]]
    assert _texts(f1) == ["n/a"] * 4
    assert [label.get_text() for label in bleu.get_yticklabels()] == list(rows)[::-1]
    with pytest.raises(ValueError, match="no text was scored"):
        figures.scores({"details": {"tables": {}}})
