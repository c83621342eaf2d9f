"""Scores within each source of a collection gathered from several, where a source may give its labels away.

The finding head is scored against the labels, and so is the text: the findings that the rule labeller reads in it
against those that the labels make (`data.claims`). An image that is called normal has none of them; else a finding
without a label takes no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from app.inference.uncertainty import AbstainRule
from app.text.findings import IMAGE_LABELS, POSITIVE
from app.text.labeller import label_report
from model_training.data.pairing.statements import claims_of
from model_training.data.study import Study
from model_training.data.text.deidentification import holds_mark
from model_training.data.text.prior_exams import mentions_prior
from model_training.evaluation import selective_prediction
from model_training.evaluation.finding_scores import Calibration, HeadOutput, auroc, score_findings, summarise
from model_training.evaluation.generation import Written, derangement
from model_training.evaluation.text_scores import MODEL, SHUFFLED
from model_training.metrics import agreement, r2gen
from model_training.metrics.agreement import FloatArray
from model_training.metrics.bootstrap import estimate
from model_training.metrics.calibration import expected_calibration_error

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(IMAGE_LABELS.values()))
COMMON = 15  # positive studies, below which a finding's AUROC says little
CONSTANT = "best constant"
Bools = npt.NDArray[np.bool_]
Sources = dict[str, dict[str, Any]]


def score_sources(
    systems: Mapping[str, Sequence[Written]],
    train: Sequence[Study],
    output: HeadOutput,
    calibration: Calibration,
    rule: AbstainRule | None,
) -> Sources:
    """For each source that studies name: `studies`, `head` in a few numbers, `findings` one by one, `text`, and
    `abstaining` by the manifest's rule.

    `systems` are the model and the blank control on the same studies; the best constant is that of the source's own
    training studies.
    """
    written = systems[MODEL]
    sources: Sources = {}
    for name in sorted({one.study.source for one in written if one.study.source}):
        members = [i for i, one in enumerate(written) if one.study.source == name]
        part = HeadOutput(output.names, output.logits[members], output.targets[members])
        texts = {system: [every[i].text(_sections(every[i])) for i in members] for system, every in systems.items()}
        studies = [written[i].study for i in members]
        sources[name] = {
            "studies": len(members),
            "head": head_row(part, calibration),
            "findings": score_findings(part, calibration),
            "text": score_texts(studies, texts, [s for s in train if s.source == name]),
            "abstaining": score_abstaining(
                studies, texts[MODEL], selective_prediction.sureness(part, calibration, rule), rule
            ),
        }
    return sources


def head_row(output: HeadOutput, calibration: Calibration) -> dict[str, float]:
    """`summarise`, the AUROC over findings with at least `COMMON` positive studies with its interval, and the ECE of
    all decisions together."""
    common = (output.targets == 1).sum(axis=0) >= COMMON
    common &= (output.targets == 0).any(axis=0)
    row = {**summarise(output, calibration), "common findings": float(common.sum())}
    if common.any():
        logits, targets = output.logits[:, common], output.targets[:, common]
        draws = np.random.default_rng(0).integers(len(logits), size=(200, len(logits)))
        areas = [float(np.nanmean(auroc(logits[draw], targets[draw]))) for draw in draws]
        low, high = np.nanquantile(areas, [0.025, 0.975])
        row |= {"AUROC": float(auroc(logits, targets).mean()), "AUROC low": float(low), "AUROC high": float(high)}
    probabilities = output.probabilities(calibration.temperatures)
    pooled = expected_calibration_error(probabilities.reshape(-1, 1), output.targets.reshape(-1, 1))
    return row | {"ECE of all": float(pooled[0])}


def score_texts(
    studies: Sequence[Study], texts: Mapping[str, Sequence[str]], train: Sequence[Study]
) -> dict[str, dict[str, Any]]:
    """System to micro-F1 against the labels, how far the model leads it, both with 95% intervals, and macro-F1; of the
    model the signs of reciting besides. Empty where nothing is labelled. Shuffling stays within the studies given.
    """
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

    rows: dict[str, dict[str, Any]] = {}
    for system in counts:
        rows[system] = {"micro-F1": asdict(estimate(partial(micro_f1, system), len(studies)))}
        if system != MODEL:
            rows[system]["lead"] = asdict(estimate(partial(lead, system), len(studies)))
        rows[system]["macro-F1"] = float(agreement.macro_f1(counts[system].sum(axis=0)))
    rows[MODEL] |= signs(texts[MODEL])
    return rows


def score_abstaining(
    studies: Sequence[Study], texts: Sequence[str], sure: FloatArray, rule: AbstainRule | None
) -> dict[str, dict[str, Any]]:
    """Share of the studies answered, micro-F1 of their text, and its gain over answering all, with 95% intervals: at
    the shipped bar, and for the surest 80% of these studies. Empty where nothing is labelled."""
    known, truth = _truth(studies)
    if not (known & truth).any():
        return {}
    counts = _counts(_named(texts), truth) * known[..., None]

    def micro_f1(kept: FloatArray, weights: FloatArray) -> FloatArray:
        return agreement.micro_f1(np.tensordot(weights * kept, counts, axes=1))

    def gain(kept: FloatArray, weights: FloatArray) -> FloatArray:
        return micro_f1(kept, weights) - micro_f1(np.ones_like(kept), weights)

    rows: dict[str, dict[str, Any]] = {}
    surest = float(np.quantile(sure, 1 - selective_prediction.COVERAGE))
    shipped = [("at the shipped bar", rule.below)] if rule else []
    for name, least in (*shipped, (f"the surest {selective_prediction.COVERAGE:.0%}", surest)):
        kept = (sure >= least).astype(np.float64)
        if kept.any():
            scores = {
                key: asdict(estimate(partial(f, kept), len(sure)))
                for key, f in (("micro-F1", micro_f1), ("gain", gain))
            }
            rows[name] = {"answered": float(kept.mean()), **scores}
    return rows


def best_constant(known: Bools, truth: Bools) -> Bools:
    """The findings bool[findings] that have the highest micro-F1 when stated of every study: the commonest few."""
    positives = (known & truth).sum(axis=0)
    order = np.argsort(-positives, kind="stable")
    scores = []
    for count in range(1, len(order) + 1):
        stated = order[:count]
        hits = positives[stated].sum()
        scores.append(2 * hits / max(1, known[:, stated].sum() + positives.sum()))
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[order[: int(np.argmax(scores)) + 1]] = True
    return chosen


def signs(texts: Sequence[str]) -> dict[str, float]:
    """Shares of the texts: different ones, with a de-identification mark, speaking of an earlier examination, and
    stating as present what images are not labelled for."""
    beyond = [
        any(m.status == "present" and name not in GROUPS for name, m in label_report(text).items()) for text in texts
    ]
    return {
        "distinct": len({r2gen.clean(text) for text in texts}) / len(texts),
        "marks": sum(holds_mark(text.upper()) for text in texts) / len(texts),
        "prior": sum(map(mentions_prior, texts)) / len(texts),
        "beyond labels": sum(beyond) / len(texts),
    }


def compact(sources: Sources) -> Sources:
    """What the manifest holds of it: of the table by finding, the common ones' AUROC."""
    return {
        name: {key: part[key] for key in ("studies", "head", "text", "abstaining")}
        | {
            "findings": {
                finding: {key: row[key] for key in ("positive", "AUROC", "AUROC low", "AUROC high", "ECE")}
                for finding, row in part["findings"].items()
                if row["positive"] >= COMMON and row["positive"] < row["labelled"]
            }
        }
        for name, part in sources.items()
    }


def _sections(one: Written) -> tuple[str, ...]:
    return tuple(one.report.hypotheses[0].sections)


def _truth(studies: Sequence[Study]) -> tuple[Bools, Bools]:
    """Which findings are known of each study, and which are there: bool[studies, findings] each."""
    claims = [claims_of(dict(study.labels)) for study in studies]
    shape = (len(claims), len(GROUPS))
    known = np.array([[c.normal or name in c.findings for name in GROUPS] for c in claims], dtype=np.bool_)
    there = np.array([[name in c.present for name in GROUPS] for c in claims], dtype=np.bool_)
    return known.reshape(shape), there.reshape(shape)


def _named(texts: Sequence[str]) -> Bools:
    read = [label_report(text) for text in texts]
    named = [[name in mentions and mentions[name].status in POSITIVE for name in GROUPS] for mentions in read]
    return np.array(named, dtype=np.bool_).reshape(len(read), len(GROUPS))


def _counts(said: Bools, truth: Bools) -> FloatArray:
    return np.stack([truth & said, ~truth & said, truth & ~said], axis=-1).astype(np.float64)
