"""Fitting the anatomy head: films with masks, what is drawn from them, and its way into the checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from app.inference.checkpoint import frozen_encode, load_checkpoint, script
from app.inference.chest import STRUCTURES
from app.inference.encoder_output import EncoderOutput
from app.text.tokenizer import Tokenizer
from model_training.__main__ import main
from model_training.anatomy.examples import OUTSIDE, FilmBank, draw_examples
from model_training.anatomy.films import Listed
from model_training.anatomy.fit import describe, fit_head, hold_out, loss_of, measure
from model_training.config import Config
from model_training.data.files import UnreadableFileError
from model_training.model.anatomy_head import MAP_SIZE, AnatomyHead
from model_training.model.report_model import ReportModel
from model_training.training.fitted_parts import load_anatomy_head
from model_training.training.run_folder import load_run, save_run
from tests.app.chests import logits_of
from tests.model_training.anatomy.drawings import drawn, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "masks")


def test_it_learns() -> None:
    """A few passes over some drawings find lungs and heart in others."""
    head = fit_head(drawn(8), 64, epochs=20, seed=0)
    figures = measure(head, preprocess_square, drawn(8, first=100))
    assert figures["films"] == 8
    assert min(figures["dice"].values()) > 0.7


def test_measures() -> None:
    """A head that gives the masks themselves is nearly without fault, one that gives nothing is silent."""
    films = drawn(3)
    masks = iter(film.mask for film in films)
    figures = measure(lambda _: logits_of(torch.from_numpy(next(masks)).long())[None], preprocess_square, films)
    assert min(figures["dice"].values()) > 0.97
    assert figures["silent"] == 0
    assert figures["cardiothoracic ratio"]["95th percentile"] < 0.01
    nothing = measure(lambda _: torch.zeros(1, len(STRUCTURES), MAP_SIZE, MAP_SIZE), preprocess_square, films)
    assert nothing["silent"] == 3
    assert "no ratio" in describe(nothing)


def preprocess_square(image: torch.Tensor) -> torch.Tensor:
    """What `preprocess` makes of a square film of 64 pixels."""
    image = torch.nn.functional.interpolate(image[None, None], [64, 64], mode="area")[0]
    return (image - image.mean()) / (image.std(correction=0) + 1e-3)


def test_same_seed_same_head() -> None:
    """Two fits with one seed end in the same weights, with another in others."""
    heads = [fit_head(drawn(4), 64, epochs=1, seed=seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert not torch.equal(heads[0]["read.0.weight"], heads[2]["read.0.weight"])


def test_patients_stay_together() -> None:
    """Films of one patient are all fitted on or all kept for validation, of which there are some."""
    films = [Listed(Path(f"{i}.png"), Path("m.png"), patient, "train") for i, patient in enumerate("aabccde")]
    fitted_on, kept = hold_out(films, 3)
    assert {film.patient for film in fitted_on}.isdisjoint(film.patient for film in kept)
    assert len(fitted_on) + len(kept) == len(films)
    assert kept
    with pytest.raises(ValueError, match="too few"):
        hold_out(films[:2], 3)


def test_examples() -> None:
    """What the head is to find sums to 1 in every cell; of most films it is lungs and heart, which lie where they are
    in the picture, of those turned or inverted it is nothing."""
    bank = FilmBank.of(drawn(64))
    images, shares = draw_examples(bank, torch.arange(64), torch.Generator().manual_seed(1))
    torch.testing.assert_close(shares.sum(1), torch.ones(64, MAP_SIZE, MAP_SIZE))
    seen = shares[:, 1:OUTSIDE].amax((1, 2, 3)) > 0
    assert 40 <= int(seen.sum()) < 64
    pictures = torch.nn.functional.interpolate(images, [MAP_SIZE, MAP_SIZE], mode="area")[:, 0]
    heart, lungs = shares[:, 3] > 0.99, (shares[:, 1] + shares[:, 2]) > 0.99
    brighter = [float(p[h].mean() - p[m].mean()) for p, h, m in zip(pictures, heart, lungs, strict=True) if h.any()]
    assert np.mean(np.array(brighter) > 0) > 0.95


def test_nothing_needs_to_be_found_where_nothing_is() -> None:
    """The loss is least where the head is certain of what is there, structures or none."""
    empty = torch.zeros(2, len(STRUCTURES), 8, 8)
    empty[:, 0] = 1
    full = empty.roll(1, 1)
    for shares in (empty, full):
        losses = [float(loss_of(certain * (2 * shares - 1), shares)) for certain in (20.0, 1.0, -1.0)]
        assert losses[0] < 0.01
        assert losses == sorted(losses)


@pytest.mark.parametrize("size", [64, 224, 320])
def test_head(size: int) -> None:
    """It is light, looks at images of any size, and gives the same once frozen."""
    torch.manual_seed(0)
    head = AnatomyHead(size).eval()
    assert sum(parameter.numel() for parameter in head.parameters()) <= 150_000
    images = torch.randn(2, 1, size, size)
    logits = head(images)
    assert logits.shape == (2, len(STRUCTURES), MAP_SIZE, MAP_SIZE)
    torch.testing.assert_close(script(head)(images), logits)


def test_command(
    tmp_path: Path,
    folder: Path,
    tiny_model: ReportModel,
    tiny_tokenizer: Tokenizer,
    tiny_config: Config,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fitted on a run, it is in what `export` writes next, and leaves the run's network as it was."""
    run, archive = tmp_path / "run", tmp_path / "run.pt"
    run.mkdir()
    save_run(run, tiny_model, tiny_tokenizer, tiny_config)
    before = (run / "training.pt").read_bytes()
    assert main(["anatomy", "--run", str(run), "--masks", str(folder), "--epochs", "1", "--test"]) == 0
    assert "test: 1 films" in capsys.readouterr().out
    assert (run / "training.pt").read_bytes() == before
    fitted = load_anatomy_head(run, load_run(run)[0])
    assert fitted is not None
    assert fitted["fitted_on"] + fitted["figures"]["validation"]["films"] == 9
    assert main(["export", "--run", str(run), "--out", str(archive)]) == 0
    checkpoint = load_checkpoint(archive)
    for name, weight in checkpoint.module.anatomy.state_dict().items():
        assert torch.equal(weight, fitted["head"][name])
    views = torch.randn(2, 1, 64, 64)
    (given, frozen) = (
        EncoderOutput(*encode(views)) for encode in (checkpoint.module.encode, frozen_encode(checkpoint.module))
    )
    assert given.anatomy.shape == (2, len(STRUCTURES), MAP_SIZE, MAP_SIZE)
    torch.testing.assert_close(frozen.anatomy, given.anatomy, atol=1e-3, rtol=1e-3)


def test_command_without_run(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a run there is one line saying so, and status 2."""
    assert main(["anatomy", "--run", str(tmp_path), "--masks", str(folder)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_foreign_head_is_told(tmp_path: Path, tiny_model: ReportModel) -> None:
    """A file that is no head of this program is an error that names it."""
    torch.save({"head": {"weight": torch.zeros(1)}}, tmp_path / "anatomy_head.pt")
    with pytest.raises(UnreadableFileError, match=r"anatomy_head\.pt: not what `anatomy` writes"):
        load_anatomy_head(tmp_path, tiny_model)
