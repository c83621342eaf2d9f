"""METEOR 1.5 (Denkowski and Lavie, WMT 2014) by the jar that `pycocoevalcap` carries, as statistics that add up.

The jar aligns the words; the formula is applied here, so that a corpus can be resampled without starting Java again.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model_training.metrics.agreement import FloatArray

# English defaults of version 1.5, tuned on human rankings.
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.20, 0.60, 0.75
_MATCHER_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym, paraphrase


def meteor_statistics(jar: Path, references: Sequence[str], hypotheses: Sequence[str]) -> FloatArray | None:
    """[N, 23] as the jar gives them, or None where no Java answers.

    Words of hypothesis and reference and the function words among them (4); for each of four matchers the content
    words matched in both, then the function words (16); chunks, and words matched in both (3).
    """
    java = shutil.which("java")
    if java is None:
        return None
    command = [java, "-jar", "-Xmx2G", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    pairs = zip(references, hypotheses, strict=True)
    lines = "".join(f"SCORE ||| {reference} ||| {hypothesis}\n" for reference, hypothesis in pairs)
    answer = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)  # noqa: S603 no shell
    rows = [line.split() for line in answer.stdout.splitlines()]
    if len(rows) != len(references) or any(len(row) != 23 for row in rows):
        return None
    statistics = np.array(rows, dtype=np.float64)
    whole = (statistics[:, 20] == 1) & (statistics[:, 21:] == statistics[:, :2]).all(axis=1)
    statistics[whole, 20] = 0  # the jar's own sum counts no chunk for a hypothesis equal to its reference
    return statistics


def meteor_of(statistics: FloatArray) -> FloatArray:
    """METEOR [...] from summed statistics [..., 23]."""
    lengths, chunks, matched = statistics[..., 0:2], statistics[..., 20], statistics[..., 21:23].mean(axis=-1)
    function_words = statistics[..., 2:4]
    matches = statistics[..., 4:20].reshape(*statistics.shape[:-1], 4, 4)  # [..., matcher, content 2 + function 2]
    weighted = _DELTA * matches[..., 0:2] + (1 - _DELTA) * matches[..., 2:4]
    weighted_lengths = _DELTA * (lengths - function_words) + (1 - _DELTA) * function_words
    with np.errstate(divide="ignore", invalid="ignore"):  # no match at all scores 0 below
        shares = np.einsum("m,...mk->...k", _MATCHER_WEIGHTS, weighted) / weighted_lengths
        precision, recall = np.moveaxis(shares, -1, 0)
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        score = mean * (1 - _GAMMA * (chunks / matched) ** _BETA)
    return np.asarray(np.where(matched > 0, score, 0.0), dtype=np.float64)
