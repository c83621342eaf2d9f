"""The checkpoint for synthetic radiographs: the whole machinery, from drawing to writing, does what it should."""

from __future__ import annotations

from pathlib import Path

from app.inference.generator import Generator
from app.text.labeller import label_report
from model_training.data import read_collection
from model_training.data.mesh import label_mesh
from model_training.evaluation.generation import generate
from model_training.synthetic.phantom import write_collection
from tests.conftest import ROOT


def test_it_writes_of_what_was_drawn(tmp_path: Path) -> None:
    """Of phantoms it has never seen, nearly all findings drawn are stated and hardly any others."""
    write_collection(tmp_path, 24, seed=77, size=160, processes=2, progress=False, val=0.0, test=1.0)
    studies = read_collection(tmp_path).split("test")
    generator = Generator.load(ROOT / "tests" / "phantom" / "xray-report-phantom.pt", max_queue=128)
    try:
        made = generate(generator, studies, generator.model.default_options)
    finally:
        generator.close()
    assert not made.left_out
    right = stated = drawn = 0
    for one in made.reports:
        said = {name for name, m in label_report(one.text(("findings", "impression"))).items() if m.status == "present"}
        true = label_mesh(one.study.mesh).keys()
        right, stated, drawn = right + len(said & true), stated + len(said), drawn + len(true)
    assert drawn >= 10
    assert 2 * right / (stated + drawn) > 0.8
