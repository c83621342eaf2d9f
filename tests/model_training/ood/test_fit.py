"""Fitting out-of-distribution detection: what it is fitted on, how, and its way into the checkpoint."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from app.inference.checkpoint import load_checkpoint
from app.inference.encoder_output import EncoderOutput
from app.inference.ood import OUTPUTS
from app.text.tokenizer import Tokenizer
from model_training.__main__ import main
from model_training.config import Config
from model_training.model.report_model import ReportModel
from model_training.ood.examples import Group
from model_training.ood.fit import choose_thresholds, measure
from model_training.ood.linear_probe import fit_reading
from model_training.synthetic.negatives import KINDS, draw_negative
from model_training.synthetic.phantom import generate_study
from model_training.training.fitted_parts import load_ood_head
from model_training.training.run_folder import load_run, save_run


def group(name: str, centre: float, count: int = 50, *, weight: float = 1.0, chest: bool = True) -> Group:
    noise = np.random.default_rng(len(name)).normal(centre, 1, (count, 3))
    return Group(name, weight, torch.tensor(noise, dtype=torch.float32), chest=chest, real=chest)


def test_reading() -> None:
    """A reading tells apart what differs, by logits whose sign is right on what it has not seen."""
    reading = fit_reading(
        [group("film", 2), group("cat", -2, chest=False), group("unknown", 0)],
        lambda g: None if g.name == "unknown" else int(g.chest),
        1,
        1e-3,
    )
    unseen = reading(torch.tensor([[2.0, 2, 2], [-2, -2, -2]]))
    assert unseen[0] > 0 > unseen[1]


def test_weights() -> None:
    """A group counts by its weight, not by how many examples it has."""
    few, many = group("few", 1, 20), group("many films", 3, 2000)
    cats = group("cats", -1, 200, chest=False)
    balanced = fit_reading([few, many, cats], lambda g: int(g.chest), 1, 1e-2)
    again = fit_reading([few, many, many, cats], lambda g: int(g.chest), 1, 1e-2)
    halved = Group("many films", 0.5, many.features)
    same = fit_reading([few, halved, halved, cats], lambda g: int(g.chest), 1, 1e-2)
    assert torch.allclose(same.weight, balanced.weight, atol=1e-3)
    assert not torch.allclose(again.weight, balanced.weight, atol=1e-3)


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_objective(classes: int) -> None:
    """What is fitted has the least mean cross-entropy, classes weighing the same, plus the penalty on squared weights
    of standardised features: there is no slope left."""
    groups = [group("a", 0), group("bb", 1, 80), group("ccc", -1, 30, weight=2.0), group("dddd", 2, 40)]
    label = [group.name for group in groups].index
    reading = fit_reading(groups, lambda g: min(label(g.name), max(classes, 2) - 1), classes, 0.1)
    x = torch.cat([g.features for g in groups]).double()
    y = torch.cat([torch.full((len(g.features),), min(i, max(classes, 2) - 1)) for i, g in enumerate(groups)])
    weights = torch.cat([torch.full((len(g.features),), g.weight / len(g.features)) for g in groups]).double()
    for cls in range(max(classes, 2)):
        weights[y == cls] /= weights[y == cls].sum() * max(classes, 2)
    deviation = ((weights @ (x - weights @ x) ** 2).sqrt() + 0.02).detach()
    weight, bias = (part.detach().double().requires_grad_() for part in (reading.weight, reading.bias))
    logits = x @ weight.T + bias
    losses = (
        F.binary_cross_entropy_with_logits(logits[:, 0], y.double(), reduction="none")
        if classes == 1
        else F.cross_entropy(logits, y, reduction="none")
    )
    loss = weights @ losses + 0.1 * (weight * deviation).square().sum()
    slopes = torch.autograd.grad(loss, (weight, bias))
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-4


def test_thresholds() -> None:
    """The threshold is half way between films and negatives; where these overlap, hardly any film is refused."""
    films, cats = group("films", 0), group("cats", 0, chest=False)
    negatives = (cats, torch.linspace(0, 1, 101)[:, None].repeat(1, len(OUTPUTS)))
    for least, threshold in ((4.0, 2.5), (0.5, 0.51)):
        said = [(films, torch.linspace(least, 6, 1001)[:, None].repeat(1, len(OUTPUTS))), negatives]
        assert choose_thresholds(said)["chest"] == pytest.approx(threshold, abs=0.02)


def test_area() -> None:
    """What is measured is how films are told from negatives: three of four pairs in the right order are .75."""
    films, cats = group("films", 0), group("cats", 0, chest=False)
    said = [(films, torch.tensor([[1.0], [3.0]])), (cats, torch.tensor([[0.0], [2.0]]))]
    thresholds = {"chest": 0.0, "inverted": 0.0, "turned": 0.0}
    wide = [(of, logits.repeat(1, len(OUTPUTS))) for of, logits in said]
    assert measure(wide, thresholds)["auroc"] == 0.75


@pytest.mark.parametrize("kind", KINDS)
def test_negatives(kind: str) -> None:
    """Every kind draws pictures in 0..1, another one for another seed and the same for the same."""
    films = [np.random.default_rng(1).random((90, 70)).astype(np.float32)]
    first, again, other = (draw_negative((3, seed), kind, films) for seed in (0, 0, 1))
    assert first.min() >= 0
    assert first.max() <= 1
    assert np.isfinite(first).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Phantoms as a folder of labelled films of two sources."""
    folder = tmp_path / "films"
    folder.mkdir()
    rows = []
    for i in range(8):
        name = f"{i}.png"
        Image.fromarray((generate_study(5, i, 64).images["frontal"] * 255).astype(np.uint8)).save(folder / name)
        rows.append([name, "ab"[i % 2], f"p{i}", "val" if i > 5 else "train", "0"])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "source", "patient", "split", "cardiomegaly"], *rows])
    return folder


def test_command(
    tmp_path: Path, labelled: Path, tiny_model: ReportModel, tiny_tokenizer: Tokenizer, tiny_config: Config
) -> None:
    """Fitted on a run, it is in what `export` writes next, and leaves the run's network as it was."""
    run, archive = tmp_path / "run", tmp_path / "run.pt"
    run.mkdir()
    save_run(run, tiny_model, tiny_tokenizer, tiny_config)
    before = (run / "training.pt").read_bytes()
    amounts = ["--films", "3", "--phantoms", "1", "--negatives", "1"]
    assert main(["intake", "--run", str(run), "--data", str(labelled), *amounts]) == 0
    assert (run / "training.pt").read_bytes() == before
    assert main(["export", "--run", str(run), "--out", str(archive)]) == 0
    checkpoint = load_checkpoint(archive)
    fitted = load_ood_head(run, load_run(run)[0])
    assert fitted is not None
    assert checkpoint.manifest.ood is not None
    assert asdict(checkpoint.manifest.ood.thresholds) == fitted["thresholds"]
    assert checkpoint.manifest.ood.outputs == list(OUTPUTS)
    assert checkpoint.manifest.ood.fitted_on["frontal films of a"] == 3
    encoded = EncoderOutput(*checkpoint.module.encode(torch.zeros(2, 1, 64, 64)))
    assert encoded.ood_logits.shape == (2, len(OUTPUTS))
    assert torch.equal(checkpoint.module.view_head.weight, fitted["view_head"]["weight"])


def test_command_without_run(tmp_path: Path, labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a run there is one line saying so, and status 2."""
    assert main(["intake", "--run", str(tmp_path), "--data", str(labelled)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
