"""The text protocol of R2Gen, which published Indiana results share: cleaning, vocabulary, references cut to length.

Source: Chen et al., "Generating Radiology Reports via Memory-driven Transformer", EMNLP 2020, arXiv 2010.16056, and the
tokenizer of its code, followed to the letter: a period glued to the next word is removed with the others, hyphens stay.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

UNKNOWN = "<unk>"
MIN_COUNT = 3
MAX_TOKENS = 60

_ENUMERATION = ("1. ", ""), *((f". {n}. ", ". ") for n in range(2, 6)), *((f" {n}. ", ". ") for n in range(2, 6))
# `:-[` is a range in the original expression: it takes `;<=>?@` along.
_PUNCTUATION = re.compile(r"[.,?*!%^&_+():-\[\]{}\"/\\']")


def clean(report: str) -> str:
    """Lower-case report with sentences joined by ` . `; cleaning a clean report changes nothing."""
    text = report
    for _ in range(3):
        text = text.replace("..", ".")
    for mark, replacement in _ENUMERATION:
        text = text.replace(mark, replacement)
    sentences = (_PUNCTUATION.sub("", sentence.strip()) for sentence in text.strip().lower().split(". "))
    return " ".join([*" . ".join(sentences).split(), "."])


class Vocabulary:
    """The words seen at least `min_count` times in cleaned training reports; every other word reads `<unk>`."""

    def __init__(self, reports: Iterable[str], min_count: int = MIN_COUNT) -> None:
        counts = Counter(word for report in reports for word in clean(report).split())
        self.words = frozenset(word for word, count in counts.items() if count >= min_count)

    def __len__(self) -> int:
        return len(self.words)

    def reference(self, report: str) -> str:
        """The report as it comes back from its ids: unknown words replaced, cut at 60 ids of which one is BOS."""
        words = clean(report).split()[: MAX_TOKENS - 1]
        return " ".join(word if word in self.words else UNKNOWN for word in words)
