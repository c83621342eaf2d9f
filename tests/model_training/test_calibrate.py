"""The command `calibrate`: what it fits by cases worked out by hand, and the way from a run into a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.inference.checkpoint import load_checkpoint
from app.inference.uncertainty import AbstainRule
from model_training.__main__ import main
from model_training.calibrate import DENIAL_ERROR, fit
from model_training.config import Config
from model_training.evaluation.finding_scores import HeadOutput, decision_counts
from model_training.evaluation.selective_prediction import expected_gains
from model_training.metrics.agreement import f1
from model_training.training import run_folder
from tests.model_training.conftest import Bench

NAN = float("nan")


def calibrated(studies: int = 4000, overconfidence: float = 3.0, seed: int = 0) -> HeadOutput:
    """Two findings whose targets follow the logits divided by `overconfidence`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(studies, 2), loc=-1.0)
    targets = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float64)
    return HeadOutput(("a", "b"), overconfidence * logits, targets)


def test_temperatures_take_overconfidence_out() -> None:
    """A head three times too sure gets a temperature of three."""
    fitted = fit(calibrated(), [None] * 4000)
    assert list(fitted.temperatures.values()) == pytest.approx([3.0, 3.0], rel=0.1)
    assert fitted.studies == 4000


def test_one_threshold_has_the_highest_micro_f1_over_all_decisions() -> None:
    """No other threshold for all findings does better."""
    output = calibrated()
    fitted = fit(output, [None] * 4000)
    probabilities = output.probabilities(np.array(list(fitted.temperatures.values())))

    def micro_f1(threshold: float) -> float:
        said, true = probabilities >= threshold, output.targets == 1
        return float(2 * (said & true).sum() / (said.sum() + true.sum()))

    best = micro_f1(fitted.threshold)
    assert all(micro_f1(other) <= best for other in np.linspace(0.05, 0.95, 19))


def test_few_of_the_denied_findings_were_there() -> None:
    """As many as are allowed, and nothing is denied that is stated."""
    output = calibrated()
    fitted = fit(output, [None] * 4000)
    denied = output.probabilities(np.array(list(fitted.temperatures.values()))) < fitted.denied_below
    assert output.targets[denied].mean() == pytest.approx(DENIAL_ERROR, abs=0.005)
    assert 0 < fitted.denied_below <= fitted.threshold


def test_a_source_of_many_studies_does_not_decide_alone() -> None:
    """Every source counts the same: one that is told apart whatever the threshold leaves the choice to the other."""
    hard = calibrated(500)
    logits, targets = np.tile([[-20.0, 0], [20.0, 0]], (5000, 1)), np.tile([[0, NAN], [1, NAN]], (5000, 1))
    both = HeadOutput(hard.names, np.concatenate([hard.logits, logits]), np.concatenate([hard.targets, targets]))
    alone, together = fit(hard, ["hard"] * 500), fit(both, ["hard"] * 500 + ["easy"] * 10_000)
    assert together.threshold == pytest.approx(alone.threshold, abs=0.1)


def test_four_in_five_studies_are_sure_enough() -> None:
    """The bar leaves a fifth of the validation studies below it."""
    output = calibrated()
    fitted = fit(output, [None] * 4000)
    probabilities = output.probabilities(np.array(list(fitted.temperatures.values())))
    gains = expected_gains(probabilities, probabilities >= fitted.threshold, fitted.balance)
    assert (gains >= fitted.uncertain_below).mean() == pytest.approx(0.8, abs=0.001)


def test_leaving_out_the_unsure_pays_in_every_source() -> None:
    """Where one source is easy and the other hard, what is left of the hard one is better all the same."""
    hard, easy = calibrated(1000), calibrated(1000)
    sources = ["hard"] * 1000 + ["easy"] * 1000
    logits = np.concatenate([hard.logits / 3, easy.logits * 2])
    output = HeadOutput(hard.names, logits, np.concatenate([hard.targets, easy.targets]))
    fitted = fit(output, sources)
    probabilities = output.probabilities(np.array(list(fitted.temperatures.values())))
    stated = probabilities >= fitted.threshold
    gains = expected_gains(probabilities, stated, fitted.balance)
    for source in ("hard", "easy"):
        own = np.flatnonzero(np.array(sources) == source)
        kept = own[np.argsort(-gains[own])[:800]]
        scores = [f1(decision_counts(stated[part], output.targets[part]).sum(axis=0)) for part in (own, kept)]
        assert scores[1] > scores[0]


def test_the_checkpoint_decides_by_what_was_fitted(
    phantoms: Path, small_config: Config, bench: Bench, tmp_path: Path
) -> None:
    """`export` takes it from the run's folder: into the manifest, and into the network's own decisions."""
    trainer = bench.trainer(small_config, tmp_path)
    run_folder.save_run(tmp_path, trainer.model, trainer.tokenizer, small_config)
    assert main(["calibrate", "--run", str(tmp_path), "--data", str(phantoms)]) == 0
    fitted = json.loads((tmp_path / run_folder.CALIBRATION).read_text())
    assert fitted["studies"] == 6
    assert main(["export", "--run", str(tmp_path), "--out", str(tmp_path / "small.pt")]) == 0
    checkpoint = load_checkpoint(tmp_path / "small.pt")
    assert checkpoint.manifest.abstain == AbstainRule(fitted["balance"], fitted["uncertain_below"])
    stated = checkpoint.module.state_dict()["stated_from"]
    for logit, finding in zip(stated.tolist(), checkpoint.manifest.findings, strict=True):
        assert 1 / (1 + np.exp(-logit / finding.temperature)) == pytest.approx(finding.threshold)
        assert finding.temperature == pytest.approx(fitted["temperatures"][finding.name], abs=1e-4)


def test_without_validation_studies_nothing_is_fitted(
    small_config: Config, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so, and writes nothing."""
    trainer = bench.trainer(small_config, tmp_path)
    run_folder.save_run(tmp_path, trainer.model, trainer.tokenizer, small_config)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "labels.csv").write_text("file,split\n")
    assert main(["calibrate", "--run", str(tmp_path), "--data", str(tmp_path / "data")]) == 2
    assert "has no validation studies" in capsys.readouterr().err
    assert not (tmp_path / run_folder.CALIBRATION).exists()
