"""Operating points: the thresholds that trade what is missed against what is said of the healthy.

A finding is present from its threshold on, in a study that is abnormal from its own threshold on. At one operating
point all findings are called present in the same share of normal studies, so that a rare one is not found at a price
that a common one does not pay. Arrays are [studies, findings and the whole].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from app.inference.manifest import Threshold
from app.inference.options import OPERATING_POINTS, OperatingPoint
from model_training.metrics.agreement import FloatArray, ratio
from model_training.metrics.bootstrap import Estimate, estimate

Flags = npt.NDArray[np.bool_]

FALSE_ALARMS: Mapping[OperatingPoint, float] = {"balanced": 0.22, "specific": 0.08}
"""The greatest share of normal validation studies that is given any finding."""
SENSITIVITY = 0.87
"""The least mean sensitivity of the point that is sensitive, over findings with `ENOUGH` positive studies."""
ENOUGH = 15
_SHARES = np.concatenate([[0.001, 0.002, 0.003, 0.005, 0.0075], np.arange(0.01, 0.9, 0.01)])
_GATES = np.arange(0.05, 1.0, 0.05)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Thresholds [points, findings and the whole], with how sensitive and specific each is, by itself."""

    probabilities: FloatArray
    sensitivities: FloatArray
    specificities: FloatArray

    def thresholds(self, i: int) -> dict[OperatingPoint, Threshold]:
        """Those of one finding, for the manifest."""
        return {
            point: Threshold(
                round(float(self.probabilities[p, i]), 4),
                _rounded(self.sensitivities[p, i]),
                _rounded(self.specificities[p, i]),
            )
            for p, point in enumerate(OPERATING_POINTS)
        }

    def decided(self, point: OperatingPoint, probabilities: FloatArray) -> Flags:
        """What is present at a point, [studies, findings]."""
        return decided(probabilities, self.probabilities[OPERATING_POINTS.index(point)])


def decided(probabilities: FloatArray, thresholds: FloatArray) -> Flags:
    """What is present by thresholds [findings and the whole]: [studies, findings]."""
    reached = probabilities >= thresholds
    return np.asarray(reached[:, :-1] & reached[:, -1:])


def fit_points(probabilities: FloatArray, targets: FloatArray) -> Fitted:
    """The thresholds of all operating points. Without 20 normal studies all of them are at one half."""
    normal = targets[:, -1] == 0
    findings = probabilities.shape[1] - 1
    chosen = np.full((len(OPERATING_POINTS), findings + 1), 0.5)
    if normal.sum() >= 20:
        positive = targets[:, :-1] == 1
        enough = positive.sum(axis=0) >= ENOUGH
        if not enough.any():
            enough = positive.any(axis=0)
        choices = []
        for gate in np.quantile(probabilities[normal, -1], _GATES):
            for share in _SHARES:
                thresholds = np.append(np.quantile(probabilities[normal, :-1], 1 - share, axis=0), gate)
                said = decided(probabilities, thresholds)
                alarms = said[normal].any(axis=1).mean()
                found = np.array([said[positive[:, i], i].mean() for i in np.flatnonzero(enough)])
                choices.append((float(alarms), float(found.mean()), thresholds))
        for p, point in enumerate(OPERATING_POINTS):
            chosen[p] = _best(point, choices)
    return Fitted(chosen, *_rates(probabilities, targets, chosen))


def _best(point: OperatingPoint, choices: list[tuple[float, float, FloatArray]]) -> FloatArray:
    """The most sensitive choice within the point's false alarms; for the sensitive point, that of fewest of them."""
    if point == "sensitive":
        allowed = [c for c in choices if c[1] >= SENSITIVITY] or [max(choices, key=lambda c: c[1])]
        return min(allowed, key=lambda c: c[0])[2]
    allowed = [c for c in choices if c[0] <= FALSE_ALARMS[point]] or [min(choices, key=lambda c: c[0])]
    return max(allowed, key=lambda c: c[1])[2]


def _rates(probabilities: FloatArray, targets: FloatArray, chosen: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sensitivities and specificities of thresholds, each by itself; NaN where there is none to find, or to spare."""
    said = probabilities[None] >= chosen[:, None]
    with np.errstate(invalid="ignore"):
        sensitivities = (said & (targets == 1)).sum(axis=1) / (targets == 1).sum(axis=0)
        specificities = (~said & (targets == 0)).sum(axis=1) / (targets == 0).sum(axis=0)
    return sensitivities, specificities


def _rounded(rate: float) -> float | None:
    return None if np.isnan(rate) else round(float(rate), 4)


@dataclass(frozen=True, slots=True)
class PointScores:
    """One operating point on some studies: how many are normal and the share of these that is given any finding; the
    sensitivity to findings with `ENOUGH` positive studies and to those that are `URGENT`, means of what each finding
    has."""

    normal: int
    false_alarms: Estimate | None
    sensitivity: Estimate | None
    urgent: Estimate | None


URGENT = ("effusion", "pneumothorax", "cardiomegaly", "edema")


def score_points(
    names: Sequence[str],
    probabilities: FloatArray,
    targets: FloatArray,
    thresholds: Mapping[OperatingPoint, FloatArray],
) -> dict[OperatingPoint, PointScores]:
    """The scores of each point's thresholds [findings and the whole]; `names` are those of the findings."""
    normal, positive = targets[:, -1] == 0, targets[:, :-1] == 1
    enough = positive.sum(axis=0) >= ENOUGH
    urgent = np.array([name in URGENT for name in names]) & positive.any(axis=0)
    scores = {}
    for point, chosen in thresholds.items():
        said = decided(probabilities, chosen)

        def alarms(weights: FloatArray, said: Flags = said) -> FloatArray:
            return ratio(weights @ (said.any(axis=1) & normal), weights @ normal)

        def found(which: Flags, weights: FloatArray, said: Flags = said) -> FloatArray:
            rates = ratio(weights @ (said & positive)[:, which], weights @ positive[:, which])
            return np.asarray(np.nanmean(rates, axis=-1))

        scores[point] = PointScores(
            normal=int(normal.sum()),
            false_alarms=estimate(alarms, len(targets)) if normal.any() else None,
            sensitivity=estimate(partial(found, enough), len(targets)) if enough.any() else None,
            urgent=estimate(partial(found, urgent), len(targets)) if urgent.any() else None,
        )
    return scores
