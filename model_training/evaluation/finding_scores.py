"""The finding head: how well it ranks, decides and knows its odds, by the calibration that the checkpoint carries.

Arrays are [studies, findings]; a target is 1, 0, or NaN where the study is not labelled for the finding, which then
takes no part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.inference.manifest import FindingDecision, Manifest
from app.inference.options import OPERATING_POINTS
from model_training.data.labels import abnormal_of, labels_of
from model_training.evaluation.generation import GeneratedReport
from model_training.metrics.agreement import FloatArray, f1, ratio
from model_training.metrics.calibration import brier, expected_calibration_error
from model_training.metrics.ranking import auroc, average_precision, resampled_auroc

_EDGE = 1e-12  # a probability that rounded to 0 or 1 still has a finite logit


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """Raw logits of the finding head and the truth, [studies, findings] each."""

    names: tuple[str, ...]
    logits: FloatArray
    targets: FloatArray

    @classmethod
    def of(cls, reports: Sequence[GeneratedReport], findings: Sequence[FindingDecision]) -> HeadOutput:
        """Undoes the calibration of the checkpoint's `findings`, so that it starts from the network."""
        names = tuple(finding.name for finding in findings)
        shape = (len(reports), len(names))
        given = [[finding.probability for finding in one.report.findings] for one in reports]
        probabilities = np.array(given, dtype=np.float64).reshape(shape).clip(_EDGE, 1 - _EDGE)
        calibration = Calibration.of(findings)
        targets = np.array([labels_of(one.study, names) for one in reports], dtype=np.float64).reshape(shape)
        logits = np.log(probabilities / (1 - probabilities))
        return cls(names, (logits - calibration.biases) * calibration.temperatures, targets)

    @classmethod
    def of_whole(cls, reports: Sequence[GeneratedReport], manifest: Manifest) -> HeadOutput | None:
        """The same for the findings and, behind them, the whole; None where the checkpoint has no part for that."""
        if not manifest.abnormal:
            return None
        findings = cls.of(reports, manifest.findings)
        given = np.array([one.report.abnormal.probability for one in reports if one.report.abnormal], dtype=np.float64)
        clipped = given.clip(_EDGE, 1 - _EDGE)
        logits = (np.log(clipped / (1 - clipped)) - manifest.abnormal.bias) * manifest.abnormal.temperature
        truth = np.array([abnormal_of(one.study) for one in reports], dtype=np.float64)
        return cls(
            (*findings.names, manifest.abnormal.name),
            np.column_stack([findings.logits, logits]),
            np.column_stack([findings.targets, truth]),
        )

    def probabilities(self, temperatures: FloatArray | float = 1.0, biases: FloatArray | float = 0.0) -> FloatArray:
        """Calibrated by temperatures and biases [findings]."""
        return np.asarray(1 / (1 + np.exp(-self.logits / temperatures - biases)), dtype=np.float64)

    def calibrated(self, calibration: Calibration) -> FloatArray:
        """Calibrated as the checkpoint does."""
        return self.probabilities(calibration.temperatures, calibration.biases)

    def of_studies(self, members: Sequence[int]) -> HeadOutput:
        """The output on some of the studies."""
        return HeadOutput(self.names, self.logits[members], self.targets[members])


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature, bias and default threshold of each finding, [findings] each, as the checkpoint has them."""

    temperatures: FloatArray
    biases: FloatArray
    thresholds: FloatArray

    @classmethod
    def of(cls, findings: Sequence[FindingDecision]) -> Calibration:
        """Those of a manifest's `findings`."""
        rows = [(f.temperature, f.bias, f.thresholds[OPERATING_POINTS[0]].probability) for f in findings]
        return cls(*np.array(rows, dtype=np.float64).reshape(len(rows), 3).T)


@dataclass(frozen=True, slots=True)
class FindingScores:
    """One finding of the head: AUROC with its bootstrap 95% interval, calibration error and Brier score before
    (temperature 1) and after. NaN where a figure is undefined."""

    positive: float
    labelled: float
    auroc: float
    auroc_low: float
    auroc_high: float
    ap: float
    f1: float
    ece_before: float
    ece: float
    brier_before: float
    brier: float
    temperature: float
    threshold: float


@dataclass(frozen=True, slots=True)
class HeadSummary:
    """The head in a few numbers: means over findings, micro-F1, and the bootstrap 95% interval of the mean AUROC."""

    mean_auroc: float
    mean_ap: float
    mean_f1: float
    mean_ece_before: float
    mean_ece: float
    mean_brier_before: float
    mean_brier: float
    micro_f1: float
    mean_auroc_low: float
    mean_auroc_high: float


@dataclass(frozen=True, slots=True)
class HeadScores:
    """The head on so many studies: its findings one by one, and all together."""

    studies: int
    findings: dict[str, FindingScores]
    summary: HeadSummary


def decision_counts(said: Any, truth: FloatArray) -> FloatArray:
    """[findings, 3]: true positives, false positives, false negatives of decisions bool[studies, findings]."""
    pairs = ((said & (truth == 1)), (said & (truth == 0)), (~said & (truth == 1)))
    return np.stack([pair.sum(axis=0) for pair in pairs], axis=-1).astype(np.float64)


def score_head(output: HeadOutput, calibration: Calibration) -> HeadScores:
    """Everything that is said of the head."""
    areas = resampled_areas(output)
    findings = score_findings(output, calibration, areas)
    return HeadScores(len(output.logits), findings, summarise(output, calibration, findings, areas))


def score_findings(output: HeadOutput, calibration: Calibration, areas: FloatArray) -> dict[str, FindingScores]:
    """The findings one by one; `areas` as `resampled_areas` gives them."""
    raw, calibrated = output.probabilities(), output.calibrated(calibration)
    low, high = bounds(areas)
    columns = (
        (output.targets == 1).sum(axis=0),
        (~np.isnan(output.targets)).sum(axis=0),
        auroc(output.logits, output.targets),
        low,
        high,
        average_precision(output.logits, output.targets),
        f1(decision_counts(calibrated >= calibration.thresholds, output.targets)),
        expected_calibration_error(raw, output.targets),
        expected_calibration_error(calibrated, output.targets),
        brier(raw, output.targets),
        brier(calibrated, output.targets),
        calibration.temperatures,
        calibration.thresholds,
    )
    rows = np.stack(columns, axis=-1).tolist()
    return {name: FindingScores(*row) for name, row in zip(output.names, rows, strict=True)}


def summarise(
    output: HeadOutput, calibration: Calibration, findings: Mapping[str, FindingScores], areas: FloatArray
) -> HeadSummary:
    """The findings all together; `areas` as `resampled_areas` gives them."""
    rows = findings.values()
    said = output.calibrated(calibration) >= calibration.thresholds
    low, high = bounds(means_of_defined(areas)[:, None])[:, 0]
    return HeadSummary(
        mean_auroc=_mean(row.auroc for row in rows),
        mean_ap=_mean(row.ap for row in rows),
        mean_f1=_mean(row.f1 for row in rows),
        mean_ece_before=_mean(row.ece_before for row in rows),
        mean_ece=_mean(row.ece for row in rows),
        mean_brier_before=_mean(row.brier_before for row in rows),
        mean_brier=_mean(row.brier for row in rows),
        micro_f1=float(f1(decision_counts(said, output.targets).sum(axis=0))),
        mean_auroc_low=float(low),
        mean_auroc_high=float(high),
    )


def resampled_areas(output: HeadOutput, resamples: int = 200) -> FloatArray:
    """Each finding's AUROC [resamples, findings] on studies drawn anew, the same ones for every output as long."""
    studies = len(output.logits)
    draws = np.random.default_rng(0).integers(max(1, studies), size=(resamples, studies))
    places = draws + studies * np.arange(resamples)[:, None]
    weights = np.bincount(places.ravel(), minlength=resamples * studies).reshape(resamples, studies)
    return resampled_auroc(output.logits, output.targets, weights.astype(np.float64))


def bounds(resampled: FloatArray) -> FloatArray:
    """The 95% intervals [2, K] of figures [resamples, K] over the draws in which they are defined; NaN without one."""
    found = np.full((2, resampled.shape[1]), np.nan)
    known = ~np.isnan(resampled).all(axis=0)
    found[:, known] = np.nanquantile(resampled[:, known], [0.025, 0.975], axis=0)
    return found


def means_of_defined(values: FloatArray) -> FloatArray:
    """Means [...] over what is defined of [..., K]; NaN where nothing is."""
    return ratio(np.nansum(values, axis=-1), np.sum(~np.isnan(values), axis=-1, dtype=np.float64))


def view_accuracy(reports: Sequence[GeneratedReport]) -> float:
    """Share of images whose view the model names right, where the source names it; NaN where it never does."""
    right = [
        guess.view == image.view
        for one in reports
        for guess, image in zip(one.report.views, one.images, strict=True)
        if image.view
    ]
    return sum(right) / len(right) if right else math.nan


def _mean(values: Iterable[float]) -> float:
    return float(means_of_defined(np.array(list(values), dtype=np.float64)))
