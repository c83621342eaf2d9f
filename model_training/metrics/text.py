"""Scores of texts as `pycocoevalcap` has them, the scorers that published Indiana results use: as statistics that add
up over studies, so that resampling studies is cheap. Beside them sacreBLEU and signs of memorisation.

Texts are cleaned, words apart by single spaces, unless said otherwise. Raises `MissingExtraError` without the packages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model_training.data.text.prior_exams import mentions_prior_exam
from model_training.metrics import r2gen
from model_training.metrics.agreement import FloatArray
from model_training.metrics.extras import EVALUATION
from model_training.metrics.meteor import meteor_statistics

_TINY, _SMALL = 1e-15, 1e-9  # guards against empty n-gram counts, as in the original scorer


def bleu_statistics(references: Sequence[str], hypotheses: Sequence[str]) -> FloatArray:
    """[N, 10]: words of hypothesis and reference, then n-grams proposed (4) and matched (4), n = 1..4.

    They add up over studies, and `bleu_of` turns any sum of them into BLEU.
    """
    scorer = EVALUATION.load("pycocoevalcap.bleu.bleu_scorer")
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
    scorer = EVALUATION.load("pycocoevalcap.bleu.bleu_scorer")
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


def align(pairs: Sequence[tuple[str, str]]) -> FloatArray | None:
    """METEOR's statistics [N, 23] of pairs of reference and hypothesis, equal pairs aligned once; None without Java.

    Starting Java takes seconds, so whoever scores several systems gives their pairs together.
    """
    jar = Path(EVALUATION.load("pycocoevalcap.meteor").__path__[0], "meteor-1.5.jar")
    distinct = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
    statistics = meteor_statistics(jar, [reference for reference, _ in distinct], [text for _, text in distinct])
    return None if statistics is None else statistics[[distinct[pair] for pair in pairs]]


def rouge_l(references: Sequence[str], hypotheses: Sequence[str]) -> FloatArray:
    """ROUGE-L [N] of each study (Lin, ACL 2004), beta 1.2."""
    return _coco_scores(EVALUATION.load("pycocoevalcap.rouge.rouge").Rouge(), references, hypotheses)


def cider(references: Sequence[str], hypotheses: Sequence[str]) -> FloatArray:
    """CIDEr [N] of each study (Vedantam et al., CVPR 2015).

    It weighs n-grams by the references given, so it compares only between systems scored on the same studies.
    """
    return _coco_scores(EVALUATION.load("pycocoevalcap.cider.cider").Cider(), references, hypotheses)


def sacre_bleu(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Cased sacreBLEU (Post 2018) over original text, as a fraction: the scorer of choice outside this literature."""
    bleu = EVALUATION.load("sacrebleu").corpus_bleu(list(hypotheses), [list(references)])
    return float(bleu.score) / 100


def distinct(texts: Sequence[str]) -> float:
    """The share of different texts, once cleaned, among original ones: a model that recites one has few."""
    return len(set(map(r2gen.clean, texts))) / len(texts)


def copied(texts: Sequence[str], training: Sequence[str]) -> float:
    """The share of original texts found verbatim among the training reports once both are cleaned."""
    known = set(map(r2gen.clean, training))
    return sum(r2gen.clean(text) in known for text in texts) / len(texts)


def comparing(texts: Sequence[str]) -> float:
    """The share of original texts that speak of an earlier examination, which a model shown one study cannot know."""
    return sum(map(mentions_prior_exam, texts)) / len(texts)


def _coco_scores(scorer: object, references: Sequence[str], hypotheses: Sequence[str]) -> FloatArray:
    wanted, given = ({i: [text] for i, text in enumerate(texts)} for texts in (references, hypotheses))
    return np.asarray(scorer.compute_score(wanted, given)[1], dtype=np.float64)  # type: ignore[attr-defined]  # untyped
