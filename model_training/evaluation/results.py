"""What comes of an evaluation: every figure by name and type, as `reporting` writes it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.inference.options import DecodingOptions
from model_training.evaluation.consistency import ConsistencyScores
from model_training.evaluation.finding_scores import HeadScores
from model_training.evaluation.generation import GeneratedReport
from model_training.evaluation.ood_scores import OodScores
from model_training.evaluation.place_scores import PlaceScores
from model_training.evaluation.pointing import PointingScores, StatedScores
from model_training.evaluation.source_scores import SourceScores
from model_training.evaluation.text_scores import TextTable
from model_training.metrics.bootstrap import Estimate
from model_training.metrics.calibration import RiskCoverage


@dataclass(frozen=True, slots=True)
class TextResult:
    """One view of the text: all scores, and those of the model and its controls minus the best constant's."""

    title: str
    table: TextTable
    differences: dict[str, dict[str, Estimate]]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One study: the report, whether the study is normal, the report's label F1, and of each finding the truth and the
    calibrated probability; NaN where there is none."""

    report: GeneratedReport
    normal: bool
    label_f1: float
    truths: Sequence[float]
    probabilities: Sequence[float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A checkpoint, named with its version, on one split of a collection.

    `intervals` (of the model's scores) and `groups` (normal and abnormal studies) are those of the first of `texts`,
    the view that published numbers use. `head` is on the studies of the split, `validation` on those that its
    calibration was fitted to. `curves` are by signal.
    """

    checkpoint: str
    collection: str
    split: str
    views: int
    options: DecodingOptions
    left_out: Mapping[str, Sequence[str]]
    texts: Sequence[TextResult]
    intervals: dict[str, Estimate]
    groups: dict[str, TextTable]
    frontal_only: TextTable | None
    head: HeadScores
    validation: HeadScores
    view_accuracy: float
    sources: dict[str, SourceScores]
    consistency: ConsistencyScores
    pointing: dict[str, PointingScores]
    stated: dict[str, StatedScores]
    places: PlaceScores | None
    ood: OodScores | None
    curves: dict[str, RiskCoverage]
    predictions: Sequence[Prediction]
