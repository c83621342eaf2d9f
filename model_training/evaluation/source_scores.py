"""Scores within each source of a collection gathered from several, where a source may give its labels away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from app.inference.manifest import Manifest
from app.inference.options import OPERATING_POINTS, OperatingPoint
from model_training.data.study import Study
from model_training.evaluation import label_scores, selective_prediction
from model_training.evaluation.finding_scores import (
    Calibration,
    FindingScores,
    HeadOutput,
    HeadSummary,
    bounds,
    means_of_defined,
    resampled_areas,
    score_findings,
    summarise,
)
from model_training.evaluation.generation import GeneratedReport
from model_training.evaluation.label_scores import Abstaining, LabelScores
from model_training.evaluation.operating_points import PointScores, score_points
from model_training.evaluation.text_scores import MODEL
from model_training.metrics.agreement import FloatArray
from model_training.metrics.calibration import expected_calibration_error
from model_training.metrics.ranking import auroc

COMMON = 15  # positive studies, below which a finding's AUROC says little


@dataclass(frozen=True, slots=True)
class SourceHead(HeadSummary):
    """The head in a few numbers; besides, how many findings are common (`COMMON`), their mean AUROC with its bootstrap
    95% interval (None without one), and the calibration error of all decisions together."""

    common_findings: float
    auroc: float | None
    auroc_low: float | None
    auroc_high: float | None
    ece_of_all: float


@dataclass(frozen=True, slots=True)
class Area:
    """Of telling abnormal from normal studies: how many of each, and the AUROC with its bootstrap 95% interval."""

    abnormal: int
    normal: int
    auroc: float
    auroc_low: float
    auroc_high: float


@dataclass(frozen=True, slots=True)
class SourceScores:
    """One source: the head all together and finding by finding, texts against labels by system, and abstaining; where
    the checkpoint tells abnormal from normal, the AUROC of that with its interval, and the operating points."""

    studies: int
    head: SourceHead
    findings: dict[str, FindingScores]
    text: dict[str, LabelScores]
    abstaining: dict[str, Abstaining]
    abnormal: Area | None
    points: dict[OperatingPoint, PointScores]

    @property
    def common(self) -> dict[str, FindingScores]:
        """The findings with enough positive studies, and a negative one, for their AUROC to say something."""
        return {name: row for name, row in self.findings.items() if COMMON <= row.positive < row.labelled}


def score_sources(
    systems: Mapping[str, Sequence[GeneratedReport]],
    train: Sequence[Study],
    output: HeadOutput,
    whole: HeadOutput | None,
    manifest: Manifest,
) -> dict[str, SourceScores]:
    """The scores by source, for each that studies name, by the manifest's calibration; `whole` is the output for the
    findings and behind them for the whole.

    `systems` are the model and the blank control on the same studies; the best constant is that of the source's own
    training studies.
    """
    reports, calibration, rule = systems[MODEL], Calibration.of(manifest.findings), manifest.abstain
    sources: dict[str, SourceScores] = {}
    for name in sorted({one.study.source for one in reports if one.study.source}):
        members = [i for i, one in enumerate(reports) if one.study.source == name]
        part = output.of_studies(members)
        areas = resampled_areas(part)
        findings = score_findings(part, calibration, areas)
        texts = {system: [every[i].whole_text() for i in members] for system, every in systems.items()}
        studies = [reports[i].study for i in members]
        confidences = selective_prediction.confidence([reports[i] for i in members], rule)
        sources[name] = SourceScores(
            studies=len(members),
            head=score_source_head(part, calibration, findings, areas),
            findings=findings,
            text=label_scores.score_texts(studies, texts, [s for s in train if s.source == name]),
            abstaining=label_scores.score_abstaining(studies, texts[MODEL], confidences, rule),
            abnormal=_area(whole.of_studies(members)) if whole else None,
            points=_points(whole.of_studies(members), manifest) if whole else {},
        )
    return sources


def _area(output: HeadOutput) -> Area | None:
    """Of the last column."""
    truth = output.targets[:, -1]
    if not ((truth == 1).any() and (truth == 0).any()):
        return None
    alone = HeadOutput(output.names[-1:], output.logits[:, -1:], output.targets[:, -1:])
    low, high = bounds(resampled_areas(alone))[:, 0]
    area = float(auroc(alone.logits, alone.targets)[0])
    return Area(int((truth == 1).sum()), int((truth == 0).sum()), area, float(low), float(high))


def _points(output: HeadOutput, manifest: Manifest) -> dict[OperatingPoint, PointScores]:
    decisions = [*manifest.findings, *filter(None, [manifest.abnormal])]
    thresholds = {
        point: np.array([one.thresholds[point].probability for one in decisions]) for point in OPERATING_POINTS
    }
    probabilities = output.calibrated(Calibration.of(decisions))
    return score_points(output.names[:-1], probabilities, output.targets, thresholds)


def score_source_head(
    output: HeadOutput, calibration: Calibration, findings: Mapping[str, FindingScores], areas: FloatArray
) -> SourceHead:
    """The head on one source; `areas` as `resampled_areas` gives them."""
    common = ((output.targets == 1).sum(axis=0) >= COMMON) & (output.targets == 0).any(axis=0)
    area = low = high = None
    if common.any():
        area = float(auroc(output.logits[:, common], output.targets[:, common]).mean())
        low, high = map(float, bounds(means_of_defined(areas[:, common])[:, None])[:, 0])
    probabilities = output.calibrated(calibration)
    pooled = expected_calibration_error(probabilities.reshape(-1, 1), output.targets.reshape(-1, 1))
    return SourceHead(
        **asdict(summarise(output, calibration, findings, areas)),
        common_findings=float(common.sum()),
        auroc=area,
        auroc_low=low,
        auroc_high=high,
        ece_of_all=float(pooled[0]),
    )
