"""The command `calibrate`: what it fits by cases worked out by hand, and the way from a run into a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from app.inference.checkpoint import load_checkpoint
from app.inference.options import OPERATING_POINTS
from model_training.__main__ import main
from model_training.calibrate import DENIAL_ERROR, fit
from model_training.config import Config
from model_training.evaluation.finding_scores import HeadOutput
from model_training.evaluation.operating_points import FALSE_ALARMS, SENSITIVITY
from model_training.evaluation.selective_prediction import expected_gains
from model_training.metrics.agreement import FloatArray
from model_training.training import run_folder
from model_training.training.run_folder import Calibration
from tests.model_training.conftest import Bench

NAN = float("nan")


def calibrated(studies: int = 4000, overconfidence: float = 3.0, seed: int = 0) -> HeadOutput:
    """Two findings and the whole, whose targets follow the logits divided by `overconfidence`."""
    rng = np.random.default_rng(seed)
    illness = rng.normal(size=(studies, 1))
    logits = illness + rng.normal(size=(studies, 3)) - 1.0
    logits[:, 2] += 2.0
    found = rng.random((studies, 2)) < 1 / (1 + np.exp(-logits[:, :2]))
    whole = found.any(axis=1) | (rng.random(studies) < 0.1)
    return HeadOutput(("a", "b", "abnormal"), overconfidence * logits, np.column_stack([found, whole]).astype(float))


def fitted_to(output: HeadOutput) -> tuple[Calibration, FloatArray, FloatArray]:
    """What is fitted, and the calibrated probabilities of the findings and of the whole."""
    fitted = fit(output, [None] * len(output.logits), ["a"])
    assert fitted.abnormal
    decisions = (*fitted.findings, fitted.abnormal)
    rows = [[one.probability(x) for one, x in zip(decisions, row, strict=True)] for row in output.logits.tolist()]
    probabilities = np.array(rows)
    return fitted, probabilities[:, :2], probabilities.max(axis=1)  # never less probable than its findings


def test_temperatures_take_overconfidence_out() -> None:
    """A head three times too sure gets a temperature of three."""
    fitted, _, _ = fitted_to(calibrated())
    assert [finding.temperature for finding in fitted.findings] == pytest.approx([3.0, 3.0], rel=0.1)
    assert [finding.bias for finding in fitted.findings] == pytest.approx([0.0, 0.0], abs=0.1)
    assert fitted.studies == 4000


def test_operating_points_keep_to_their_false_alarms_and_sensitivity() -> None:
    """Balanced and specific by the share of normal studies given a finding, sensitive by the share of what is found."""
    output = calibrated()
    fitted, probabilities, whole = fitted_to(output)
    assert fitted.abnormal
    normal, shares, found = output.targets[:, 2] == 0, {}, {}
    for point in OPERATING_POINTS:
        thresholds = [finding.thresholds[point].probability for finding in fitted.findings]
        gate = whole >= fitted.abnormal.thresholds[point].probability
        said = (probabilities >= thresholds) & gate[:, None]
        shares[point] = said[normal].any(axis=1).mean()
        found[point] = np.mean([said[output.targets[:, i] == 1, i].mean() for i in range(2)])
    assert shares["specific"] <= FALSE_ALARMS["specific"] + 0.005
    assert shares["specific"] < shares["balanced"] <= FALSE_ALARMS["balanced"] + 0.005
    assert found["specific"] < found["balanced"] < found["sensitive"]
    assert found["sensitive"] >= SENSITIVITY - 0.005


def test_thresholds_say_how_sensitive_and_specific_they_are() -> None:
    """Each by itself, as anyone would count it."""
    output = calibrated()
    fitted, probabilities, _ = fitted_to(output)
    for i, finding in enumerate(fitted.findings):
        for threshold in finding.thresholds.values():
            said, there = probabilities[:, i] >= threshold.probability, output.targets[:, i] == 1
            assert threshold.sensitivity == pytest.approx(said[there].mean(), abs=0.005)
            assert threshold.specificity == pytest.approx((~said[~there]).mean(), abs=0.005)


def test_few_of_the_denied_findings_were_there() -> None:
    """As many as are allowed, nothing that the balanced point states, and nothing that may not be denied."""
    output = calibrated()
    fitted, probabilities, _ = fitted_to(output)
    first, second = fitted.findings
    assert second.denied_below is None
    assert first.denied_below
    assert first.denied_below <= first.thresholds["balanced"].probability
    assert output.targets[probabilities[:, 0] < first.denied_below, 0].mean() <= DENIAL_ERROR + 0.005


def test_without_normal_studies_what_is_likelier_is_stated() -> None:
    """There are no false alarms to count."""
    output = calibrated(200)
    output.targets[:, 2] = 1.0
    fitted = fit(output, [None] * 200, ["a", "b"])
    assert fitted.abnormal is None
    assert {t.probability for finding in fitted.findings for t in finding.thresholds.values()} == {0.5}


def test_a_source_of_many_studies_does_not_decide_alone() -> None:
    """Every source counts the same for the probabilities: an easy one leaves the hard one as sure as it is."""
    hard = calibrated(500)
    logits, targets = (
        np.tile([[-20.0] * 3, [20.0] * 3], (5000, 1)),
        np.tile([[0.0, NAN, 0.0], [1.0, NAN, 1.0]], (5000, 1)),
    )
    both = HeadOutput(hard.names, np.concatenate([hard.logits, logits]), np.concatenate([hard.targets, targets]))
    alone, together = fit(hard, ["hard"] * 500, []), fit(both, ["hard"] * 500 + ["easy"] * 10_000, [])
    assert together.findings[0].temperature == pytest.approx(alone.findings[0].temperature, rel=0.25)


def test_four_in_five_studies_are_sure_enough() -> None:
    """The bar leaves a fifth of the validation studies below it."""
    output = calibrated()
    fitted, probabilities, whole = fitted_to(output)
    assert fitted.abnormal
    thresholds = [finding.thresholds["balanced"].probability for finding in fitted.findings]
    stated = (probabilities >= thresholds) & (whole >= fitted.abnormal.thresholds["balanced"].probability)[:, None]
    gains = expected_gains(probabilities, stated, fitted.abstain.balance)
    assert (gains >= fitted.abstain.below).mean() == pytest.approx(0.8, abs=0.005)


def test_the_checkpoint_decides_by_what_was_fitted(
    phantoms: Path, small_config: Config, bench: Bench, tmp_path: Path
) -> None:
    """`export` takes it from the run's folder into the manifest."""
    trainer = bench.trainer(small_config, tmp_path)
    run_folder.save_run(tmp_path, trainer.model, trainer.tokenizer, small_config)
    assert main(["calibrate", "--run", str(tmp_path), "--data", str(phantoms)]) == 0
    fitted = run_folder.read_calibration(tmp_path, small_config.data.findings)
    assert fitted
    assert fitted.studies == 6
    assert main(["export", "--run", str(tmp_path), "--out", str(tmp_path / "small.pt")]) == 0
    manifest = load_checkpoint(tmp_path / "small.pt").manifest
    assert (manifest.findings, manifest.abnormal, manifest.abstain) == (
        fitted.findings,
        fitted.abnormal,
        fitted.abstain,
    )


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


def test_what_is_called_uncertain_helps_in_every_source() -> None:
    """Where one is easily told and the other is not, what is left of each is as right as all of it was, or more."""
    rng = np.random.default_rng(5)
    easy = np.arange(3000) < 1000
    told, first = easy[:, None], np.arange(6) == 0  # of the easy ones a single finding is labelled
    illness = rng.normal(size=(3000, 1))
    found = np.where(
        told, (rng.random((3000, 1)) < 0.65) & first, rng.random((3000, 6)) < 0.08 * np.exp(0.8 * illness - 0.3)
    )
    evidence = rng.normal(0, 0.7, found.shape) + np.where(
        told, 6.0 * found - 3.0 - 3.0 * ~first, 0.5 * found + 0.8 * illness - 2.5
    )
    targets = np.where(told & ~first, NAN, found)
    logits = np.column_stack([evidence, evidence.max(axis=1) + 0.3])
    output = HeadOutput((*"abcdef", "abnormal"), logits, np.column_stack([targets, found.any(axis=1)]))
    fitted = fit(output, ["children" if one else "adults" for one in easy], ["a"])
    assert fitted.abnormal
    assert fitted.abstain
    decisions = (*fitted.findings, fitted.abnormal)
    rows = [[one.probability(x) for one, x in zip(decisions, row, strict=True)] for row in logits.tolist()]
    probabilities = np.array(rows)
    thresholds = np.array([one.thresholds["balanced"].probability for one in decisions])
    stated = (probabilities[:, :6] >= thresholds[:6]) & (probabilities.max(axis=1) >= thresholds[6])[:, None]
    sure = expected_gains(probabilities[:, :6], stated, fitted.abstain.balance) >= fitted.abstain.below
    known = ~np.isnan(targets)

    def score(which: npt.NDArray[np.bool_]) -> float:
        right, counted = (stated & found & known)[which].sum(), (stated & known)[which].sum() + found[which].sum()
        return float(2 * right / counted)

    for one in (easy, ~easy):
        assert 0 < score(one) <= score(sure & one)
