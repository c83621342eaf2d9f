"""The text protocol of R2Gen, which published Indiana results share: cleaning, vocabulary, references cut to length.

Source: Chen et al., "Generating Radiology Reports via Memory-driven Transformer", EMNLP 2020, arXiv 2010.16056, and the
tokenizer of its code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from app.text.cleaning import clean

__all__ = ["Vocabulary", "clean"]

UNKNOWN = "<unk>"
MIN_COUNT = 3
MAX_TOKENS = 60


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
