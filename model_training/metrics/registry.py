"""Every score of generated texts: one record a metric. What scores, prints and compares goes by these records alone.

To add one, add its record to `METRICS`, or to `CORPUS_METRICS` if it does not add up over studies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from app.text.labeller import label_report
from model_training.metrics import agreement, text
from model_training.metrics.agreement import FloatArray, Labels, ratio
from model_training.metrics.extras import EVALUATION, Extra
from model_training.metrics.meteor import meteor_of
from model_training.progress import Progress


@dataclass(frozen=True, slots=True)
class Texts:
    """What one system wrote of N studies beside their reports: both cleaned, words apart by single spaces; and the
    findings of the studies beside those that the labeller reads in what was written."""

    references: Sequence[str]
    hypotheses: Sequence[str]
    labels: Sequence[Labels]
    found: Sequence[Labels]

    @classmethod
    def of(cls, references: Sequence[str], hypotheses: Sequence[str], labels: Sequence[Labels] | None = None) -> Texts:
        """`labels` are by default those that the labeller reads in the references.

        Raises ValueError without a study, or when the counts differ.
        """
        if len(references) != len(hypotheses) or not references:
            raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
        labels = [label_report(reference) for reference in references] if labels is None else labels
        return cls(references, hypotheses, labels, [label_report(hypothesis) for hypothesis in hypotheses])


# What each study contributes, [N, ...] a system; None where it cannot be had on this machine.
Statistics = Callable[[Sequence[Texts]], Sequence[FloatArray] | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of cleaned texts, or of the findings in them. Its statistics add up over studies, and `score` turns any
    sum of them [..., ...] into scores [...]; metrics of the same statistics share them.

    `headline`: stands in the manifest and where systems are compared. `of_findings`: says nothing where nothing is to
    be found.
    """

    name: str
    statistics: Statistics
    score: Callable[[FloatArray], FloatArray]
    higher_is_better: bool = True
    extra: Extra | None = None
    headline: bool = False
    of_findings: bool = False


@dataclass(frozen=True, slots=True)
class CorpusMetric:
    """A score of original texts as a whole, by references, hypotheses and training reports. It is not resampled.

    `memorisation`: a sign of it, not of quality.
    """

    name: str
    score: Callable[[Sequence[str], Sequence[str], Sequence[str]], float]
    higher_is_better: bool = True
    extra: Extra | None = None
    memorisation: bool = False


@dataclass(frozen=True, slots=True)
class StudyScores:
    """What each of N studies contributes to every metric: [N, ...] by statistics."""

    metrics: Sequence[Metric]
    statistics: Mapping[Statistics, FloatArray]

    def __len__(self) -> int:
        return len(next(iter(self.statistics.values())))

    def totals(self, weights: FloatArray | None = None) -> dict[str, FloatArray]:
        """Corpus scores by name, each [...], for weights [..., N]: how often a study counts (by default once)."""
        weights = np.ones(len(self)) if weights is None else weights
        sums = {name: np.tensordot(weights, each, axes=1) for name, each in self.statistics.items()}
        return {metric.name: np.asarray(metric.score(sums[metric.statistics])) for metric in self.metrics}


def score_systems(systems: Sequence[Texts], metrics: Sequence[Metric] | None = None) -> list[StudyScores]:
    """Every system's scores by `METRICS`, or by those given; without a metric whose statistics cannot be had.

    Raises `MissingExtraError` where the packages of an extra lack.
    """
    metrics = METRICS if metrics is None else metrics
    sources = list(dict.fromkeys(metric.statistics for metric in metrics))
    every = {}
    with Progress("score", len(sources), "measure") as progress:
        for source in sources:
            every[source] = source(systems)
            progress.advance()
    known = {source: found for source, found in every.items() if found is not None}
    kept = [metric for metric in metrics if metric.statistics in known]
    return [StudyScores(kept, {source: found[i] for source, found in known.items()}) for i in range(len(systems))]


def check_extras() -> None:
    """Raises `MissingExtraError` unless everything can be scored: better missed before than after all is generated."""
    needed = [metric.extra for metric in METRICS] + [metric.extra for metric in CORPUS_METRICS]
    for extra in filter(None, needed):
        extra.check()


def bleu(systems: Sequence[Texts]) -> list[FloatArray]:
    """`bleu_statistics` [N, 10]."""
    return [text.bleu_statistics(one.references, one.hypotheses) for one in systems]


def meteor(systems: Sequence[Texts]) -> list[FloatArray] | None:
    """`meteor_statistics` [N, 23], None without Java."""
    pairs = [list(zip(one.references, one.hypotheses, strict=True)) for one in systems]
    aligned = text.align([pair for own in pairs for pair in own])
    return None if aligned is None else np.split(aligned, np.cumsum([len(own) for own in pairs])[:-1])


def rouge_l(systems: Sequence[Texts]) -> list[FloatArray]:
    """ROUGE-L and 1 [N, 2]."""
    return [_with_count(text.rouge_l(one.references, one.hypotheses)) for one in systems]


def cider(systems: Sequence[Texts]) -> list[FloatArray]:
    """CIDEr and 1 [N, 2]."""
    return [_with_count(text.cider(one.references, one.hypotheses)) for one in systems]


def findings(systems: Sequence[Texts]) -> list[FloatArray]:
    """`label_counts` [N, findings, 3]."""
    return [agreement.label_counts(one.labels, one.found) for one in systems]


def sides(systems: Sequence[Texts]) -> list[FloatArray]:
    """`side_counts` [N, 2]."""
    return [agreement.side_counts(one.labels, one.found) for one in systems]


def mean(sums: FloatArray) -> FloatArray:
    """Of a sum and a count [..., 2]."""
    return ratio(sums[..., 0], sums[..., 1])


def _with_count(scores: FloatArray) -> FloatArray:
    return np.stack([scores, np.ones_like(scores)], axis=-1)


def _bleu(n: int, sums: FloatArray) -> FloatArray:
    return text.bleu_of(sums)[..., n - 1]


METRICS: Sequence[Metric] = (
    Metric("BLEU-1", bleu, partial(_bleu, 1), extra=EVALUATION),
    Metric("BLEU-2", bleu, partial(_bleu, 2), extra=EVALUATION),
    Metric("BLEU-3", bleu, partial(_bleu, 3), extra=EVALUATION),
    Metric("BLEU-4", bleu, partial(_bleu, 4), extra=EVALUATION, headline=True),
    Metric("METEOR", meteor, meteor_of, extra=EVALUATION),
    Metric("ROUGE-L", rouge_l, mean, extra=EVALUATION, headline=True),
    Metric("CIDEr", cider, mean, extra=EVALUATION, headline=True),
    Metric("micro-F1", findings, agreement.micro_f1, headline=True, of_findings=True),
    Metric("macro-F1", findings, agreement.macro_f1, headline=True, of_findings=True),
    Metric("side accuracy", sides, lambda sums: ratio(sums[..., 1], sums[..., 0]), headline=True, of_findings=True),
)
CORPUS_METRICS: Sequence[CorpusMetric] = (
    CorpusMetric("sacreBLEU", lambda references, texts, training: text.sacre_bleu(references, texts), extra=EVALUATION),
    CorpusMetric("distinct", lambda references, texts, training: text.distinct(texts), memorisation=True),
    CorpusMetric(
        "copied",
        lambda references, texts, training: text.copied(texts, training),
        higher_is_better=False,
        memorisation=True,
    ),
    CorpusMetric(
        "prior", lambda references, texts, training: text.comparing(texts), higher_is_better=False, memorisation=True
    ),
)
