"""The checkpoint for synthetic radiographs: the whole machinery, from drawing to writing, does what it should."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.inference.generator import Generator
from app.text.labeller import label_report
from model_training.data import read_collection
from model_training.data.mesh import label_mesh
from model_training.evaluation.generation import GeneratedReport, generate
from model_training.evaluation.pointing import ALL, score_stated
from model_training.synthetic.phantom import write_collection
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Sequence[GeneratedReport]:
    """Of phantoms it has never seen."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_collection(folder, 24, seed=77, size=192, processes=2, progress=False, val=0.0, test=1.0)
    studies = read_collection(folder).split("test")
    generator = Generator.load(ROOT / "tests" / "phantom" / "xray-report-phantom.pt", max_queue=128)
    try:
        made = generate(generator, studies, generator.model.default_options, heatmaps=True)
    finally:
        generator.close()
    assert not made.left_out
    return made.reports


def test_it_writes_of_what_was_drawn(reports: Sequence[GeneratedReport]) -> None:
    """Nearly all findings drawn are stated and hardly any others."""
    right = stated = drawn = 0
    for one in reports:
        said = {name for name, m in label_report(one.text(("findings", "impression"))).items() if m.status == "present"}
        true = label_mesh(one.study.mesh).keys()
        right, stated, drawn = right + len(said & true), stated + len(said), drawn + len(true)
    assert drawn >= 10
    assert 2 * right / (stated + drawn) > 0.8


def test_it_points_at_what_was_drawn(reports: Sequence[GeneratedReport]) -> None:
    """Where a sentence rightly states a finding, its heatmap is brightest on it and its box is about it; the middle of
    the image, where a centred Gaussian is brightest, seldom is."""
    found = score_stated(reports)[ALL]
    assert found.images >= 15
    assert found.hit.value >= 0.7
    assert found.lead.value >= 0.4
    assert found.boxed >= 5
    assert found.box_hit is not None
    assert found.box_hit.value >= 0.7


def test_it_measures_the_heart(reports: Sequence[GeneratedReport]) -> None:
    """On most frontal phantoms, and on no lateral one, the cardiothoracic ratio is measured."""
    measured = [(one.images[m.image].view, m.value) for one in reports for m in one.report.measurements]
    assert len(measured) >= 0.75 * len(reports)
    assert all(view == "frontal" and 0.3 < ratio < 0.75 for view, ratio in measured)
