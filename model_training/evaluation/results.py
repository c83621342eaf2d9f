"""What comes of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model_training.evaluation.finding_scores import Calibration, HeadOutput
from model_training.evaluation.generation import GeneratedReport
from model_training.metrics.agreement import FloatArray
from model_training.metrics.calibration import RiskCoverage


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that comes of it. `metrics` is compact, for the manifest; `details` is for people and comparisons."""

    metrics: dict[str, Any]
    details: dict[str, Any]
    reports: list[GeneratedReport]
    losses: FloatArray  # of the reports [studies], NaN without a reference
    output: HeadOutput
    calibration: Calibration
    curves: dict[str, RiskCoverage]
