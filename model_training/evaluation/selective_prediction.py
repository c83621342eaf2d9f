"""What withholding the doubtful reports would buy: risk against the share of studies answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from app.inference.uncertainty import AbstainRule, expected_gain
from model_training.evaluation.finding_scores import Calibration, HeadOutput
from model_training.evaluation.generation import Written
from model_training.metrics.agreement import FloatArray, f1
from model_training.metrics.calibration import RiskCoverage, risk_coverage

COVERAGE = 0.8  # share of validation studies that the bar of a checkpoint lets pass
BALANCE = 0.5  # where a checkpoint has no rule
COVERAGES = (1.0, 0.9, 0.75, 0.5, 0.25)
BY_SCORE, BY_HEAD, DECISIONS = "reports by score", "reports by expected gain", "finding decisions by confidence"


def report_losses(counts: FloatArray) -> FloatArray:
    """1 - label F1 of each report [studies], from counts [studies, findings, 3]; 0 where nothing was there or said."""
    return np.asarray(1 - np.nan_to_num(f1(counts.sum(axis=1)), nan=1.0), dtype=np.float64)


def expected_gains(probabilities: FloatArray, stated: npt.NDArray[np.bool_], balance: float) -> FloatArray:
    """The expected gain [studies] of reports that state these findings [studies, findings], by the rule that serves."""
    rows = zip(probabilities.tolist(), stated.tolist(), strict=True)
    return np.array([expected_gain(row, said, balance) for row, said in rows], dtype=np.float64)


def sureness(output: HeadOutput, calibration: Calibration, rule: AbstainRule | None) -> FloatArray:
    """The expected gain [studies] of what the calibrated head states, with the balance of a manifest's rule."""
    probabilities = output.probabilities(calibration.temperatures)
    return expected_gains(probabilities, probabilities >= calibration.thresholds, rule.balance if rule else BALANCE)


def curves(
    written: Sequence[Written], losses: FloatArray, sure: FloatArray, output: HeadOutput, calibration: Calibration
) -> dict[str, RiskCoverage]:
    """Risk-coverage curves by signal, for losses of the reports [studies], NaN where one has no reference.

    Reports are ranked by their score (log-probability a token) or by their `sureness`; single decisions of the head by
    their distance to the threshold.
    """
    found: dict[str, RiskCoverage] = {}
    scored = ~np.isnan(losses)
    if scored.any():
        scores = np.array([one.report.hypotheses[0].score for one in written])
        found[BY_SCORE] = risk_coverage(scores[scored], losses[scored])
        found[BY_HEAD] = risk_coverage(sure[scored], losses[scored])
    known = ~np.isnan(output.targets)
    if known.any():
        margin = output.logits / calibration.temperatures - _logit(calibration.thresholds)
        wrong = (margin >= 0) != (output.targets == 1)
        found[DECISIONS] = risk_coverage(np.abs(margin[known]), wrong[known].astype(np.float64))
    return found


def summarise(found: Mapping[str, RiskCoverage]) -> dict[str, dict[str, float]]:
    """Signal to its area and to the risk at a few coverages."""
    return {
        signal: {"AURC": curve.area, **{f"risk at {share:.0%}": risk_at(curve, share) for share in COVERAGES}}
        for signal, curve in found.items()
    }


def risk_at(curve: RiskCoverage, share: float) -> float:
    """Risk of the smallest set of answers that covers at least this share."""
    return float(curve.risk[np.searchsorted(curve.coverage, share - 1e-9)])


def plot(found: Mapping[str, RiskCoverage], path: Path) -> None:
    """The curves as a PNG: reports on the left, decisions of the finding head on the right."""
    figure = Figure(figsize=(9, 3.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2)
    titles = ("Reports", "Finding decisions")
    groups = [(BY_SCORE, BY_HEAD), (DECISIONS,)]
    for axes, title, signals in zip(panels, titles, groups, strict=True):
        for signal in signals:
            if signal in found:
                curve = found[signal]
                label = f"{signal.partition(' by ')[2]} (AURC {curve.area:.3f})"
                axes.plot(curve.coverage, curve.risk, label=label, linewidth=1.8)
                axes.axhline(curve.risk[-1], color="0.6", linewidth=0.8, linestyle=":")
        axes.set(title=title, xlabel="share answered", xlim=(0, 1), ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False)
    panels[0].set_ylabel("1 - label F1")
    panels[1].set_ylabel("share wrong")
    figure.savefig(path)


def _logit(probabilities: FloatArray) -> FloatArray:
    return np.asarray(np.log(probabilities / (1 - probabilities)), dtype=np.float64)
