"""Fitting a decoder that is told facts on composed reports, and its way into the checkpoint."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch

from app.inference.checkpoint import load_checkpoint
from app.inference.options import DecodingOptions
from app.text.facts import DENIED, PASSED_OVER, Facts, stated
from app.text.tokenizer import BOS, EOS, PAD, Tokenizer
from model_training.__main__ import main
from model_training.config import Config, config_from
from model_training.data.files import UnreadableFileError
from model_training.data.pairing.composition import Composed, Composer
from model_training.data.pairing.reports import read_composer
from model_training.model.build import build_model
from model_training.model.report_model import ReportModel
from model_training.training.fitted_parts import WORDING_PARTS, load_wording
from model_training.training.run_folder import WORDING, load_run, save_run
from model_training.wording import fit
from model_training.wording.fit import decisions, encoded, fit_wording, measure, says

NAMES = ("cardiomegaly", "effusion")
EFFUSION = (DENIED, stated(), stated())


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitted to and measured on fewer reports than usual."""
    monkeypatch.setattr(fit, "HELD_OUT", 96)
    monkeypatch.setattr(fit, "BATCH", 32)


@pytest.fixture
def told(small_config: Config, phantoms: Path) -> Config:
    """One whose decoder is told facts alone."""
    content = small_config.as_dict()
    content["model"] |= {"conditioning": "facts"}
    content["data"] |= {"findings": NAMES, "reports": str(phantoms)}
    return config_from(content)


@pytest.fixture
def composer(told: Config, phantoms: Path) -> Composer:
    return read_composer(phantoms, told.data, told.text)[0]


@pytest.fixture
def tokenizer(composer: Composer) -> Tokenizer:
    return Tokenizer.build(list(composer.texts(500)), composer.sections)


@pytest.fixture
def model(told: Config, tokenizer: Tokenizer) -> ReportModel:
    torch.manual_seed(0)
    return build_model(told, len(tokenizer)).eval()


def test_it_learns_to_say_what_it_is_told(model: ReportModel, tokenizer: Tokenizer, composer: Composer) -> None:
    """From a decoder that knows nothing, and the encoder and its heads stay as they are."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = DecodingOptions(num_beams=1, max_new_tokens=60)
    rng = random.Random(1)
    told = [composer.drawn(rng).facts for _ in range(96)]
    untaught = measure(model, tokenizer, NAMES, told, options)  # right where there is nothing to be said
    fit_wording(model, tokenizer, composer, 60, steps=200, seed=0)
    after = measure(model, tokenizer, NAMES, told, options)
    assert untaught["exact"] < 0.3
    assert after["exact"] > 0.6
    changed = {n.split(".")[0] for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed <= set(WORDING_PARTS)
    assert "decoder" in changed


def test_a_decoder_that_looks_at_images_is_refused(
    small_config: Config, tokenizer: Tokenizer, composer: Composer
) -> None:
    """It would be taught to write without looking."""
    model = build_model(small_config, len(tokenizer))
    with pytest.raises(ValueError, match="its decoder attends to images and facts: only one"):
        fit_wording(model, tokenizer, composer, 60, steps=1, seed=0)


@pytest.mark.parametrize(
    ("findings", "impression", "right"),
    [
        ("There is a small pleural effusion. The heart is normal in size.", "Pleural effusion.", True),
        ("There is a small pleural effusion. The heart is normal in size.", "", True),
        ("There is a small pleural effusion.", "Pleural effusion.", False),
        ("There is a small pleural effusion. The heart is enlarged.", "Pleural effusion.", False),
        ("There is a small pleural effusion. The heart is normal in size.", "No pleural effusion.", False),
        ("There is a small pleural effusion. The heart is normal in size.", "Cardiomegaly.", False),
        ("The heart is normal in size.", "Pleural effusion.", False),
    ],
)
def test_what_counts_as_said(findings: str, impression: str, right: bool) -> None:
    """The first section says all facts, none says anything else."""
    assert says({"findings": findings, "impression": impression}, EFFUSION, NAMES) is right


@pytest.mark.parametrize(("facts", "right"), [((PASSED_OVER,) * 3, True), ((DENIED, PASSED_OVER, PASSED_OVER), False)])
def test_an_empty_report_says_nothing(facts: Facts, right: bool) -> None:
    """Which is just what some facts ask for."""
    assert says({}, facts, NAMES) is right


def test_decisions(composer: Composer) -> None:
    """Nothing, each finding, and each pair; what is not there is denied where it may be, or passed over."""
    assert [[fact.assertion for fact in facts] for facts in decisions(composer)] == [
        [0, 0, 2],
        [1, 0, 1],
        [0, 1, 1],
        [1, 1, 1],
    ]
    composer.denied = frozenset(NAMES)
    assert [[fact.assertion for fact in facts] for facts in decisions(composer)] == [
        [2, 2, 2],
        [1, 2, 1],
        [2, 1, 1],
        [1, 1, 1],
        [0, 2, 2],
        [2, 0, 2],
        [0, 0, 2],
        [1, 0, 1],
        [0, 1, 1],
    ]


def test_encoded(tokenizer: Tokenizer, composer: Composer) -> None:
    """Reports of different lengths stand in one batch, cut where the model would stop."""
    texts = [{"findings": "", "impression": ""}, *composer.texts(20)]
    tokens, facts = encoded([Composed(text, EFFUSION) for text in texts], tokenizer, 12)
    assert facts.shape == (21, 3, 3)
    assert tokens.shape == (21, 13)
    assert tokens[0].tolist() == [BOS, EOS, *[PAD] * 11]
    assert (tokens[:, 0] == BOS).all()


@pytest.fixture
def run(tmp_path: Path, model: ReportModel, tokenizer: Tokenizer, told: Config) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    save_run(folder, model, tokenizer, told)
    return folder


def test_command(run: Path, phantoms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fitted on a run, it is in what `export` writes next, and the run's own state stays as it was."""
    before, archive = (run / "training.pt").read_bytes(), run / "archive.pt"
    assert main(["wording", "--run", str(run), "--steps", "2"]) == 0
    printed = capsys.readouterr().out
    assert f"reports composed of 18 of 18 training reports of {phantoms.name}" in printed
    assert "96 draws, before: " in printed
    assert "4 decisions, after: " in printed
    assert (run / "training.pt").read_bytes() == before
    fitted = torch.load(run / WORDING, weights_only=True)
    trained = load_run(run)[0]
    assert not torch.equal(trained.state_dict()["fact_norm.weight"], fitted["state"]["fact_norm.weight"])
    assert main(["export", "--run", str(run), "--out", str(archive)]) == 0
    weights = load_checkpoint(archive).module.state_dict()
    assert torch.equal(weights["fact_norm.weight"], fitted["state"]["fact_norm.weight"])


def test_command_without_reports(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is no collection is one line that names it, and status 2."""
    assert main(["wording", "--run", str(run), "--reports", str(tmp_path / "none"), "--steps", "1"]) == 2
    assert "none" in capsys.readouterr().err
    assert not (run / WORDING).exists()


def test_a_foreign_file_is_told(run: Path, model: ReportModel, tmp_path: Path) -> None:
    """One that is of another run, or of no run, is an error that names it."""
    other = tmp_path / "other"
    shutil.copytree(run, other)
    torch.save({"state": {"fact_norm.weight": torch.zeros(1)}}, other / WORDING)
    with pytest.raises(UnreadableFileError, match=r"wording\.pt: not what `wording` writes for this run"):
        load_wording(other, model)
