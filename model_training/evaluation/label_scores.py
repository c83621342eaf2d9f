"""Texts scored against the labels of images, where there is no report to compare with: the findings that the rule
labeller reads in a text against those that the labels make (`data.labels`).

An image that is called normal has none of them; else a finding without a label takes no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from app.inference.uncertainty import AbstainRule
from app.text.findings import IMAGE_LABELS, POSITIVE
from app.text.labeller import label_report
from model_training.data.labels import ImageLabels
from model_training.data.study import Study
from model_training.data.text.deidentification import holds_mark
from model_training.evaluation.baselines import CONSTANT
from model_training.evaluation.generation import derangement
from model_training.evaluation.selective_prediction import COVERAGE
from model_training.evaluation.text_scores import MODEL, SHUFFLED
from model_training.metrics import agreement
from model_training.metrics.agreement import FloatArray
from model_training.metrics.bootstrap import Estimate, estimate
from model_training.metrics.text import comparing, distinct

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(IMAGE_LABELS.values()))
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelScores:
    """A system's texts against the labels: micro-F1 and how far the model leads it, both with 95% intervals, macro-F1;
    of the model's own texts the signs of memorisation, as shares: different ones, with a de-identification mark,
    speaking of an earlier examination, stating as present what images are not labelled for."""

    micro_f1: Estimate
    lead: Estimate | None
    macro_f1: float
    distinct: float | None = None
    marks: float | None = None
    prior: float | None = None
    beyond_labels: float | None = None


@dataclass(frozen=True, slots=True)
class Abstaining:
    """What withholding doubtful texts does: the share of studies answered, micro-F1 of their text, and its gain over
    answering all, with 95% intervals."""

    answered: float
    micro_f1: Estimate
    gain: Estimate


def score_texts(
    studies: Sequence[Study], texts: Mapping[str, Sequence[str]], train: Sequence[Study]
) -> dict[str, LabelScores]:
    """The scores by system; empty where nothing is labelled. Shuffling stays within the studies given."""
    known, truth = _truth(studies)
    if not (known & truth).any():
        return {}
    said = {system: _named(given) for system, given in texts.items()}
    said[SHUFFLED] = said[MODEL][derangement(len(studies), 0)]
    said[CONSTANT] = np.tile(best_constant(*_truth(train or studies)), (len(studies), 1))
    counts = {system: _counts(named, truth) * known[..., None] for system, named in said.items()}

    def micro_f1(system: str, weights: FloatArray) -> FloatArray:
        return agreement.micro_f1(np.tensordot(weights, counts[system], axes=1))

    def lead(system: str, weights: FloatArray) -> FloatArray:
        return micro_f1(MODEL, weights) - micro_f1(system, weights)

    return {
        system: LabelScores(
            micro_f1=estimate(partial(micro_f1, system), len(studies)),
            lead=None if system == MODEL else estimate(partial(lead, system), len(studies)),
            macro_f1=float(agreement.macro_f1(counts[system].sum(axis=0))),
            **(signs(texts[MODEL]) if system == MODEL else {}),
        )
        for system in counts
    }


def score_abstaining(
    studies: Sequence[Study], texts: Sequence[str], confidences: FloatArray, rule: AbstainRule | None
) -> dict[str, Abstaining]:
    """By a manifest's rule at the shipped bar, and for the surest 80% of these studies; empty where nothing is
    labelled."""
    known, truth = _truth(studies)
    if not (known & truth).any():
        return {}
    counts = _counts(_named(texts), truth) * known[..., None]

    def micro_f1(kept: FloatArray, weights: FloatArray) -> FloatArray:
        return agreement.micro_f1(np.tensordot(weights * kept, counts, axes=1))

    def gain(kept: FloatArray, weights: FloatArray) -> FloatArray:
        return micro_f1(kept, weights) - micro_f1(np.ones_like(kept), weights)

    rows: dict[str, Abstaining] = {}
    surest = float(np.quantile(confidences, 1 - COVERAGE))
    shipped = [("at the shipped bar", rule.below)] if rule else []
    for name, least in (*shipped, (f"the surest {COVERAGE:.0%}", surest)):
        kept = (confidences >= least).astype(np.float64)
        if kept.any():
            scores = (estimate(partial(figure, kept), len(confidences)) for figure in (micro_f1, gain))
            rows[name] = Abstaining(float(kept.mean()), *scores)
    return rows


def best_constant(known: Bools, truth: Bools) -> Bools:
    """The findings bool[findings] that have the highest micro-F1 when stated of every study: the commonest few."""
    positives = (known & truth).sum(axis=0)
    order = np.argsort(-positives, kind="stable")
    scores = []
    for count in range(1, len(order) + 1):
        stated = order[:count]
        hits = positives[stated].sum()
        scores.append(2 * hits / max(1, int(known[:, stated].sum() + positives.sum())))
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[order[: int(np.argmax(scores)) + 1]] = True
    return chosen


def signs(texts: Sequence[str]) -> dict[str, float]:
    """The signs of memorisation by their names in `LabelScores`."""
    beyond = [
        any(m.status == "present" and name not in GROUPS for name, m in label_report(text).items()) for text in texts
    ]
    return {
        "distinct": distinct(texts),
        "marks": sum(holds_mark(text.upper()) for text in texts) / len(texts),
        "prior": comparing(texts),
        "beyond_labels": sum(beyond) / len(texts),
    }


def _truth(studies: Sequence[Study]) -> tuple[Bools, Bools]:
    """Which findings are known of each study, and which are there: bool[studies, findings] each."""
    labels = [ImageLabels.of(study) for study in studies]
    shape = (len(labels), len(GROUPS))
    known = np.array([[one.normal or name in one.findings for name in GROUPS] for one in labels], dtype=np.bool_)
    there = np.array([[name in one.present for name in GROUPS] for one in labels], dtype=np.bool_)
    return known.reshape(shape), there.reshape(shape)


def _named(texts: Sequence[str]) -> Bools:
    read = [label_report(text) for text in texts]
    named = [[name in mentions and mentions[name].status in POSITIVE for name in GROUPS] for mentions in read]
    return np.array(named, dtype=np.bool_).reshape(len(read), len(GROUPS))


def _counts(said: Bools, truth: Bools) -> FloatArray:
    return np.stack([truth & said, ~truth & said, truth & ~said], axis=-1).astype(np.float64)
