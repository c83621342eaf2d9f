"""Operating points: the thresholds that trade what is missed against what is said of the healthy.

A finding is present from its threshold on, in a study that is abnormal from its own threshold on. At one operating
point every threshold is the same multiple of the square root of how common the finding is: with one probability for
all, rare findings would never be stated, and with one rate of false alarms, at a probability of a few percent. For
findings that are urgent the multiple is smaller: to miss one costs more than to name one too many in a study that is
abnormal anyway. What is not urgent is stated only from where on it is right often enough: findings that the head
cannot tell are passed over. Arrays are [studies, findings and the whole].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt

from app.inference.manifest import Threshold
from app.inference.options import OPERATING_POINTS, OperatingPoint
from model_training.evaluation.finding_scores import decision_counts
from model_training.metrics.agreement import FloatArray, macro_f1, micro_f1, ratio
from model_training.metrics.bootstrap import Estimate, estimate

Flags = npt.NDArray[np.bool_]

FALSE_ALARMS: Mapping[OperatingPoint, float] = {"balanced": 0.22, "specific": 0.08}
"""The greatest share of the normal validation studies of any source that is given a finding."""
SENSITIVITY = 0.87
"""The least mean sensitivity of the point that is sensitive: to the findings that are `URGENT`, and where there are
none, to those with `ENOUGH` positive studies."""
NEARLY = 0.05
"""The share of the greatest F1 that may be given for sensitivity to what is urgent."""
URGENT = ("effusion", "pneumothorax", "cardiomegaly", "edema")
WORTH, FEW = 0.15, 3
"""The least share of right ones among statements of a finding that is not urgent, and how many at least."""
ENOUGH, NORMAL = 15, 20
_MULTIPLES = np.geomspace(0.01, 3.0, 45)
_LENIENCES = (1.0, 0.7, 0.5, 0.35, 0.25)  # of the multiple, for urgent findings
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


def fit_points(
    names: Sequence[str], probabilities: FloatArray, targets: FloatArray, sources: npt.NDArray[np.int64] | None = None
) -> Fitted:
    """The thresholds of all operating points; `names` are those of the findings, `sources` [studies] tell them
    apart. Without `NORMAL` normal studies of one source all thresholds are at one half.

    Of all within a point's false alarms whose sum of macro- and micro-F1 is the greatest, or `NEARLY` so where findings
    are urgent, the most sensitive are chosen; of all that are sensitive enough, those of the greatest specificity. F1
    and specificity are over the findings with `ENOUGH` positive studies. Of those alike, the ones that call the fewest
    studies abnormal. What is not urgent is stated only where that is `WORTH` it, but for the point that is sensitive.
    What is present at one point is present at every more sensitive one.
    """
    normal, positive, absent = targets[:, -1] == 0, targets[:, :-1] == 1, targets[:, :-1] == 0
    chosen = np.full((len(OPERATING_POINTS), targets.shape[1]), 0.5)
    enough = np.flatnonzero((positive.sum(axis=0) >= ENOUGH) & absent.any(axis=0))
    origin = np.zeros(len(targets), np.int64) if sources is None else sources
    healthy = [which for one in np.unique(origin) if (which := normal & (origin == one)).sum() >= NORMAL]
    if healthy and len(enough):
        urgent = np.isin(names, URGENT) & positive.any(axis=0)
        nearly = NEARLY if urgent.any() else 0.0
        choices = _choices(probabilities, targets, healthy, enough, urgent)
        balanced = _best("balanced", choices, nearly).thresholds
        within: Mapping[OperatingPoint, list[_Choice]] = {
            "balanced": choices,
            "sensitive": [c for c in choices if (c.thresholds <= balanced).all()],
            "specific": [c for c in choices if (c.thresholds >= balanced).all()],
        }
        worth = _worth(probabilities, targets, urgent, balanced[-1])
        for p, point in enumerate(OPERATING_POINTS):
            thresholds = _best(point, within[point], nearly).thresholds
            chosen[p] = thresholds if point == "sensitive" else np.maximum(thresholds, worth)
    return Fitted(chosen, *_rates(probabilities, targets, chosen))


@dataclass(frozen=True, slots=True)
class _Choice:
    """Thresholds with what they come to on the studies they are chosen by."""

    alarms: float
    sensitivity: float
    specificity: float
    f1: float
    called: float  # abnormal, the share of all studies
    thresholds: FloatArray


def _choices(
    probabilities: FloatArray,
    targets: FloatArray,
    healthy: Sequence[Flags],
    enough: npt.NDArray[np.intp],
    urgent: Flags,
) -> list[_Choice]:
    """Every gate, multiple and lenience. `healthy` are the normal studies by source, [studies]; `enough` the findings
    with enough positive ones; `urgent` is [findings]."""
    positives, absents = (targets[:, :-1] == 1).sum(axis=0), (targets[:, :-1] == 0).sum(axis=0)
    gates = np.quantile(probabilities[targets[:, -1] == 0, -1], _GATES)
    rarity = np.sqrt((1 + positives) / (2 + positives + absents))
    sought = np.flatnonzero(urgent) if urgent.any() else enough
    leniences = _LENIENCES if urgent.any() else (1.0,)
    choices = []
    for gate, multiple, lenience in product(gates, _MULTIPLES, leniences):
        multiples = multiple * np.where(urgent, lenience, 1.0)
        thresholds = np.append((multiples * rarity).clip(max=1.0), gate)
        said = decided(probabilities, thresholds)
        counts = decision_counts(said, targets[:, :-1])
        choices.append(
            _Choice(
                alarms=max(float(said[which].any(axis=1).mean()) for which in healthy),
                sensitivity=float(np.mean(counts[sought, 0] / positives[sought])),
                specificity=float(1 - np.mean(counts[enough, 1] / absents[enough])),
                f1=float(macro_f1(counts[enough]) + micro_f1(counts[enough])),
                called=float((probabilities[:, -1] >= gate).mean()),
                thresholds=thresholds,
            )
        )
    return choices


def _best(point: OperatingPoint, choices: list[_Choice], nearly: float) -> _Choice:
    def sensitive(choice: _Choice) -> tuple[float, ...]:
        return choice.sensitivity, choice.specificity, -choice.called

    if point == "sensitive":
        enough = [c for c in choices if c.sensitivity >= SENSITIVITY]
        return max(enough, key=lambda c: (c.specificity, *sensitive(c))) if enough else max(choices, key=sensitive)
    few = [c for c in choices if c.alarms <= FALSE_ALARMS[point]] or [min(choices, key=lambda c: c.alarms)]
    least = (1 - nearly) * max(c.f1 for c in few)
    return max((c for c in few if c.f1 >= least), key=sensitive)


def _worth(probabilities: FloatArray, targets: FloatArray, urgent: Flags, gate: float) -> FloatArray:
    """From which probability on a finding is right often enough in studies called abnormal, 1 where from none and 0
    where it is urgent; 0 for the whole: [findings and the whole]."""
    least = np.zeros(targets.shape[1])
    for i in np.flatnonzero(~urgent):
        known = (probabilities[:, -1] >= gate) & ~np.isnan(targets[:, i])
        order = np.argsort(-probabilities[known, i], kind="stable")
        right = np.cumsum(targets[known, i][order])
        worth = np.flatnonzero((right >= FEW) & (right >= WORTH * np.arange(1, len(right) + 1)))
        least[i] = probabilities[known, i][order][worth[-1]] if len(worth) else 1.0
    return least


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
