"""The finding head: how well it ranks, decides and knows its odds, by the calibration that the checkpoint carries.

Arrays are [studies, findings]; a target is 1, 0, or NaN where the study is not labelled for the finding, which then
takes no part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.inference.manifest import FindingDecision
from model_training.evaluation.generation import Written
from model_training.metrics.agreement import FloatArray, f1
from model_training.metrics.calibration import brier, expected_calibration_error
from model_training.reporting.summary import MEAN
from model_training.training.dataset import labels_of

_EDGE = 1e-12  # a probability that rounded to 0 or 1 still has a finite logit


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """Raw logits of the finding head and the truth, [studies, findings] each."""

    names: tuple[str, ...]
    logits: FloatArray
    targets: FloatArray

    @classmethod
    def of(cls, written: Sequence[Written], findings: Sequence[FindingDecision]) -> HeadOutput:
        """Undoes the temperatures of the checkpoint's `findings`, so that calibration starts from the network."""
        names = tuple(finding.name for finding in findings)
        shape = (len(written), len(names))
        given = [[finding.probability for finding in one.report.findings] for one in written]
        probabilities = np.array(given, dtype=np.float64).reshape(shape).clip(_EDGE, 1 - _EDGE)
        temperatures = np.array([finding.temperature for finding in findings], dtype=np.float64)
        targets = np.array([labels_of(one.study, names) for one in written], dtype=np.float64).reshape(shape)
        return cls(names, np.log(probabilities / (1 - probabilities)) * temperatures, targets)

    def probabilities(self, temperatures: FloatArray | float = 1.0) -> FloatArray:
        """Calibrated by temperatures [findings]."""
        return np.asarray(1 / (1 + np.exp(-self.logits / temperatures)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature and decision threshold of each finding, [findings] both, as the checkpoint has them."""

    temperatures: FloatArray
    thresholds: FloatArray

    @classmethod
    def of(cls, findings: Sequence[FindingDecision]) -> Calibration:
        """Those of a manifest's `findings`."""
        pairs = ([f.temperature for f in findings], [f.threshold for f in findings])
        return cls(*(np.array(values, dtype=np.float64) for values in pairs))


def decision_counts(said: Any, truth: FloatArray) -> FloatArray:
    """[findings, 3]: true positives, false positives, false negatives of decisions bool[studies, findings]."""
    pairs = ((said & (truth == 1)), (said & (truth == 0)), (~said & (truth == 1)))
    return np.stack([pair.sum(axis=0) for pair in pairs], axis=-1).astype(np.float64)


def auroc(scores: FloatArray, targets: FloatArray) -> FloatArray:
    """Probability that a positive study outranks a negative one, ties counting half, per finding [findings].

    The Mann-Whitney statistic (Hanley and McNeil, Radiology 1982). NaN without both classes.
    """
    areas = np.full(scores.shape[1], np.nan)
    for i, (column, truth) in enumerate(_labelled(scores, targets)):
        positives, negatives = truth.sum(), (1 - truth).sum()
        if positives and negatives:
            _, index, counts = np.unique(column, return_inverse=True, return_counts=True)
            ranks = (np.cumsum(counts) - (counts - 1) / 2)[index]
            areas[i] = (ranks[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return areas


def average_precision(scores: FloatArray, targets: FloatArray) -> FloatArray:
    """Precision averaged over the recall it adds, from the highest score down, per finding [findings].

    Studies of equal score are taken together. NaN without a positive study.
    """
    values = np.full(scores.shape[1], np.nan)
    for i, (column, truth) in enumerate(_labelled(scores, targets)):
        if truth.sum():
            order = np.argsort(-column, kind="stable")
            last_of_tie = np.append(np.diff(column[order]) != 0, True)
            hits = np.cumsum(truth[order])[last_of_tie]
            taken = np.arange(1, len(truth) + 1)[last_of_tie]
            values[i] = (np.diff(hits, prepend=0) * hits / taken).sum() / truth.sum()
    return values


def score_findings(output: HeadOutput, calibration: Calibration) -> dict[str, dict[str, float]]:
    """Finding to its figures; calibration error and Brier score before (temperature 1) and after."""
    raw, calibrated = output.probabilities(), output.probabilities(calibration.temperatures)
    columns = {
        "positive": (output.targets == 1).sum(axis=0),
        "labelled": (~np.isnan(output.targets)).sum(axis=0),
        "AUROC": auroc(output.logits, output.targets),
        **_area_bounds(output),
        "AP": average_precision(output.logits, output.targets),
        "F1": f1(decision_counts(calibrated >= calibration.thresholds, output.targets)),
        "ECE before": expected_calibration_error(raw, output.targets),
        "ECE": expected_calibration_error(calibrated, output.targets),
        "Brier before": brier(raw, output.targets),
        "Brier": brier(calibrated, output.targets),
        "temperature": calibration.temperatures,
        "threshold": calibration.thresholds,
    }
    return {name: {key: float(column[i]) for key, column in columns.items()} for i, name in enumerate(output.names)}


def _area_bounds(output: HeadOutput, resamples: int = 200) -> dict[str, FloatArray]:
    """The bounds of each finding's AUROC [findings], bootstrap 95%; NaN where it has none."""
    draws = np.random.default_rng(0).integers(max(1, len(output.logits)), size=(resamples, len(output.logits)))
    areas = np.array([auroc(output.logits[draw], output.targets[draw]) for draw in draws])
    bounds = np.full((2, len(output.names)), np.nan)
    known = ~np.isnan(areas).all(axis=0)
    bounds[:, known] = np.nanquantile(areas[:, known], [0.025, 0.975], axis=0)
    return {"AUROC low": bounds[0], "AUROC high": bounds[1]}


def summarise(output: HeadOutput, calibration: Calibration, resamples: int = 200) -> dict[str, float]:
    """The head in a few numbers: means over findings, micro-F1, and a 95% bootstrap interval of the mean AUROC."""
    rows = score_findings(output, calibration).values()
    means = {f"mean {key}": _mean([row[key] for row in rows]) for key in MEAN}
    said = output.probabilities(calibration.temperatures) >= calibration.thresholds
    micro = float(f1(decision_counts(said, output.targets).sum(axis=0)))
    draws = np.random.default_rng(0).integers(len(output.logits), size=(resamples, len(output.logits)))
    areas = [_mean(auroc(output.logits[draw], output.targets[draw])) for draw in draws]
    known = [area for area in areas if not math.isnan(area)]
    low, high = np.quantile(known, [0.025, 0.975]) if known else (math.nan, math.nan)
    return {**means, "micro-F1": micro, "mean AUROC low": float(low), "mean AUROC high": float(high)}


def view_accuracy(written: Sequence[Written]) -> float:
    """Share of images whose view the model names right, where the source names it; NaN where it never does."""
    right = [
        guess.view == image.view
        for one in written
        for guess, image in zip(one.report.views, one.images, strict=True)
        if image.view
    ]
    return sum(right) / len(right) if right else math.nan


def _labelled(values: FloatArray, targets: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """Each finding's values and targets over the studies labelled for it."""
    known = ~np.isnan(targets)
    return [(values[known[:, i], i], targets[known[:, i], i]) for i in range(values.shape[1])]


def _mean(values: Sequence[float] | FloatArray) -> float:
    """Over what is defined; NaN where nothing is."""
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan
