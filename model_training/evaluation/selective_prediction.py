"""What withholding the doubtful reports would buy: risk against the share of studies answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.inference.uncertainty import AbstainRule, expected_gain
from model_training.evaluation.finding_scores import Calibration, HeadOutput
from model_training.evaluation.generation import GeneratedReport
from model_training.metrics.agreement import FloatArray, f1
from model_training.metrics.calibration import RiskCoverage, risk_coverage

COVERAGE = 0.8  # share of validation studies that the bar of a checkpoint lets pass
BALANCE = 0.5  # where a checkpoint has no rule
BY_SCORE, BY_HEAD, DECISIONS = "reports by score", "reports by expected gain", "finding decisions by confidence"


def report_losses(counts: FloatArray) -> FloatArray:
    """1 - label F1 of each report [studies], from counts [studies, findings, 3]; 0 where nothing was there or said."""
    return np.asarray(1 - np.nan_to_num(f1(counts.sum(axis=1)), nan=1.0), dtype=np.float64)


def expected_gains(probabilities: FloatArray, stated: npt.NDArray[np.bool_], balance: float) -> FloatArray:
    """The expected gain [studies] of reports that state these findings [studies, findings], by the rule that serves."""
    rows = zip(probabilities.tolist(), stated.tolist(), strict=True)
    return np.array([expected_gain(row, said, balance) for row, said in rows], dtype=np.float64)


def confidence(reports: Sequence[GeneratedReport], rule: AbstainRule | None) -> FloatArray:
    """The expected gain [studies] of what reports were to state, with the balance of a manifest's rule."""
    findings = [one.report.findings for one in reports]
    probabilities = np.array([[finding.probability for finding in every] for every in findings])
    stated = np.array([[finding.present for finding in every] for every in findings])
    return expected_gains(probabilities, stated, rule.balance if rule else BALANCE)


def curves(
    reports: Sequence[GeneratedReport],
    losses: FloatArray,
    confidences: FloatArray,
    output: HeadOutput,
    calibration: Calibration,
) -> dict[str, RiskCoverage]:
    """Risk-coverage curves by signal, for losses of the reports [studies], NaN where one has no reference.

    Reports are ranked by their score (log-probability a token) or by their `confidence`; single decisions of the head
    by their distance to the threshold.
    """
    found: dict[str, RiskCoverage] = {}
    scored = ~np.isnan(losses)
    if scored.any():
        scores = np.array([one.report.hypotheses[0].score for one in reports])
        found[BY_SCORE] = risk_coverage(scores[scored], losses[scored])
        found[BY_HEAD] = risk_coverage(confidences[scored], losses[scored])
    known = ~np.isnan(output.targets)
    if known.any():
        margin = output.logits / calibration.temperatures + calibration.biases - _logit(calibration.thresholds)
        wrong = (margin >= 0) != (output.targets == 1)
        found[DECISIONS] = risk_coverage(np.abs(margin[known]), wrong[known].astype(np.float64))
    return found


def risk_at(curve: RiskCoverage, share: float) -> float:
    """Risk of the smallest set of answers that covers at least this share."""
    return float(curve.risk[np.searchsorted(curve.coverage, share - 1e-9)])


def _logit(probabilities: FloatArray) -> FloatArray:
    return np.asarray(np.log(probabilities / (1 - probabilities)), dtype=np.float64)
