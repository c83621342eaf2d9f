"""Scores of generated reports against their references, kept per study so that resampling studies is cheap.

BLEU, METEOR, ROUGE-L and CIDEr are those of `pycocoevalcap`, the scorers published Indiana results use; labels are
compared by `agreement`. Both packages come with the optional extra "evaluation".
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from app.text.labeller import label_report
from model_training.data.text.prior_exams import mentions_prior
from model_training.metrics import agreement, r2gen
from model_training.metrics.agreement import FloatArray, Labels
from model_training.metrics.meteor import meteor_of, meteor_statistics

Alignments = Mapping[tuple[str, str], FloatArray]
_TINY, _SMALL = 1e-15, 1e-9  # guards against empty n-gram counts, as in the original scorer


class MissingExtraError(ImportError):
    """An optional package of this project is not installed."""


@dataclass(frozen=True, slots=True)
class StudyScores:
    """What each of N studies contributes to every score. `meteor` is None without Java."""

    bleu: FloatArray  # [N, 10] as `bleu_statistics`
    meteor: FloatArray | None  # [N, 23] as `meteor_statistics`
    rouge_l: FloatArray  # [N]
    cider: FloatArray  # [N]
    labels: FloatArray  # [N, findings, 3] as `agreement.label_counts`
    sides: FloatArray  # [N, 2] as `agreement.side_counts`

    def totals(self, weights: FloatArray | None = None) -> dict[str, FloatArray]:
        """Corpus scores by name, each [...], for weights [..., N]: how often a study counts (by default once)."""
        weights = np.ones(len(self.bleu)) if weights is None else weights
        studies = weights.sum(axis=-1)
        bleu = bleu_of(weights @ self.bleu)
        scores = {f"BLEU-{n + 1}": bleu[..., n] for n in range(4)}
        if self.meteor is not None:
            scores["METEOR"] = meteor_of(weights @ self.meteor)
        scores["ROUGE-L"] = weights @ self.rouge_l / studies
        scores["CIDEr"] = weights @ self.cider / studies
        labels, sides = np.tensordot(weights, self.labels, axes=1), weights @ self.sides
        scores["micro-F1"], scores["macro-F1"] = agreement.micro_f1(labels), agreement.macro_f1(labels)
        scores["side accuracy"] = agreement.ratio(sides[..., 1], sides[..., 0])
        return scores


def score_studies(
    references: Sequence[str], hypotheses: Sequence[str], labels: Sequence[Labels] | None = None
) -> StudyScores:
    """`score_systems` for a single system."""
    return score_systems(references, {"": hypotheses}, labels)[""]


def score_systems(
    references: Sequence[str],
    systems: Mapping[str, Sequence[str]],
    labels: Sequence[Labels] | None = None,
    *,
    meteor: Alignments | Literal[True] | None = True,
) -> dict[str, StudyScores]:
    """Score the hypotheses of each system against one reference a study: cleaned text, words apart by single spaces.

    `labels` are the findings to score against; by default those the labeller reads from the references. CIDEr weighs
    n-grams by the references given, so it compares only between systems scored on the same studies. METEOR takes
    seconds to start, once for all systems; `meteor` may be what `align` gave for these pairs, or None to leave it out.

    Raises `ValueError` when the counts differ and `MissingExtraError` without the extra "evaluation".
    """
    for name, hypotheses in systems.items():
        if len(references) != len(hypotheses) or not references:
            raise ValueError(f"{name}: {len(hypotheses)} hypotheses for {len(references)} references")
    rouge, cider = _package("pycocoevalcap.rouge.rouge").Rouge(), _package("pycocoevalcap.cider.cider").Cider()
    if meteor is True:
        meteor = align(pair for hypotheses in systems.values() for pair in zip(references, hypotheses, strict=True))
    wanted = {i: [text] for i, text in enumerate(references)}
    labels = [label_report(text) for text in references] if labels is None else labels
    scores = {}
    for name, hypotheses in systems.items():
        given = {i: [text] for i, text in enumerate(hypotheses)}
        found = [label_report(text) for text in hypotheses]
        scores[name] = StudyScores(
            bleu=bleu_statistics(references, hypotheses),
            meteor=None if meteor is None else np.stack([meteor[p] for p in zip(references, hypotheses, strict=True)]),
            rouge_l=np.asarray(rouge.compute_score(wanted, given)[1]),
            cider=np.asarray(cider.compute_score(wanted, given)[1]),
            labels=agreement.label_counts(labels, found),
            sides=agreement.side_counts(labels, found),
        )
    return scores


def align(pairs: Iterable[tuple[str, str]]) -> Alignments | None:
    """METEOR's statistics [23] of pairs of reference and hypothesis, each pair once; None without Java."""
    jar = Path(_package("pycocoevalcap.meteor").__path__[0], "meteor-1.5.jar")
    distinct = list(dict.fromkeys(pairs))
    statistics = meteor_statistics(jar, [reference for reference, _ in distinct], [text for _, text in distinct])
    return None if statistics is None else dict(zip(distinct, statistics, strict=True))


def bleu_statistics(references: Sequence[str], hypotheses: Sequence[str]) -> FloatArray:
    """[N, 10]: words of hypothesis and reference, then n-grams proposed (4) and matched (4), n = 1..4.

    They add up over studies, and `bleu_of` turns any sum of them into BLEU.
    """
    scorer = _package("pycocoevalcap.bleu.bleu_scorer")
    rows = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        counts = scorer.cook_test(hypothesis, scorer.cook_refs([reference]), eff="closest")
        rows.append([counts["testlen"], counts["reflen"], *counts["guess"], *counts["correct"]])
    return np.array(rows, dtype=np.float64).reshape(-1, 10)


def constant_bleu_statistics(references: Sequence[str], candidates: Sequence[str]) -> FloatArray:
    """[C, 10]: what `bleu_statistics` sums to when one candidate stands for every reference, for each candidate.

    Counts the references that hold an n-gram at least so many times once, so it costs the sum of the texts' lengths and
    not their product.
    """
    scorer = _package("pycocoevalcap.bleu.bleu_scorer")
    holding: Counter[tuple[tuple[str, ...], int]] = Counter()
    words = 0
    for reference in references:
        length, counts = scorer.precook(reference)
        words += length
        holding.update((ngram, k) for ngram, count in counts.items() for k in range(1, count + 1))
    rows = []
    for candidate in candidates:
        length, counts = scorer.precook(candidate)
        matched = [0, 0, 0, 0]
        for ngram, count in counts.items():
            matched[len(ngram) - 1] += sum(holding[ngram, k] for k in range(1, count + 1))
        proposed = [len(references) * max(0, length - n) for n in range(4)]
        rows.append([len(references) * length, words, *proposed, *matched])
    return np.array(rows, dtype=np.float64).reshape(-1, 10)


def bleu_of(statistics: FloatArray) -> FloatArray:
    """BLEU-1..4 [..., 4] from summed statistics [..., 10] (Papineni et al., ACL 2002; no smoothing)."""
    hypothesis, reference = statistics[..., 0], statistics[..., 1]
    precisions = (statistics[..., 6:10] + _TINY) / (statistics[..., 2:6] + _SMALL)
    geometric_means = np.cumprod(precisions, axis=-1) ** (1 / np.arange(1, 5))
    length_ratio = (hypothesis + _TINY) / (reference + _SMALL)
    brevity_penalty = np.exp(np.minimum(0.0, 1 - 1 / length_ratio))
    return np.asarray(geometric_means * brevity_penalty[..., None], dtype=np.float64)


def sacre_bleu(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Cased sacreBLEU (Post 2018) over original text, as a fraction: the scorer of choice outside this literature."""
    bleu = _package("sacrebleu").corpus_bleu(list(hypotheses), [list(references)])
    return float(bleu.score) / 100


def memorisation(hypotheses: Sequence[str], training: Sequence[str]) -> dict[str, float]:
    """Signs of memorisation instead of seeing, as shares of the hypotheses.

    `distinct`: different texts; `copied`: found verbatim among the training reports once both are cleaned; `prior`:
    speaking of an earlier examination, which a model that is shown one study cannot know.
    """
    cleaned = [r2gen.clean(text) for text in hypotheses]
    known = {r2gen.clean(text) for text in training}
    return {
        "distinct": len(set(cleaned)) / len(cleaned),
        "copied": sum(text in known for text in cleaned) / len(cleaned),
        "prior": sum(mentions_prior(text) for text in hypotheses) / len(hypotheses),
    }


def _package(module: str) -> Any:
    """An optional, untyped module. Raises `MissingExtraError` that names the extra it comes with."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = 'pip install "xray-report[evaluation]"'
        raise MissingExtraError(f'scoring needs the extra "evaluation" ({remedy}): {error}') from error
