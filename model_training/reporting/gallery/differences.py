"""Where two reports say the same: sentences paired by their words, then words paired within.

Reports say the same things in any order, so a plain word-by-word comparison would mark every moved sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

Sentence = Sequence[str]
MIN_SIMILARITY = 0.3  # below, two sentences are about different things
# Words that sentences about different things share.
_LITTLE = frozenset(["the", "a", "an", "is", "are", "there", "no", "of", "in", "on", "at", "with", "and", "or", "to"])


def agreement(reference: Sequence[Sentence], prediction: Sequence[Sentence]) -> tuple[list[list[bool]], ...]:
    """For each word of reference and prediction, sentence by sentence, whether the other says it in the same place.

    Sentences are paired greedily, the most similar first; one without a partner agrees in nothing. Case and
    punctuation do not count.
    """
    ours, theirs = ([[word.lower() for word in sentence] for sentence in text] for text in (reference, prediction))
    marks = tuple([[False] * len(sentence) for sentence in text] for text in (ours, theirs))
    for i, j in pairs(ours, theirs):
        for block in SequenceMatcher(None, ours[i], theirs[j], autojunk=False).get_matching_blocks():
            for k in range(block.size):
                marks[0][i][block.a + k] = marks[1][j][block.b + k] = True
    return marks


def pairs(reference: Sequence[Sentence], prediction: Sequence[Sentence]) -> list[tuple[int, int]]:
    """Sentence of the reference to sentence of the prediction, each used once."""
    ranked = sorted((-similarity(a, b), i, j) for i, a in enumerate(reference) for j, b in enumerate(prediction))
    chosen: dict[int, int] = {}
    for negative, i, j in ranked:
        if -negative >= MIN_SIMILARITY and i not in chosen and j not in chosen.values():
            chosen[i] = j
    return sorted(chosen.items())


def similarity(a: Sentence, b: Sentence) -> float:
    """Share of words in common (Dice), punctuation and little words aside."""
    first, second = (Counter(w for w in sentence if w[0].isalnum() and w not in _LITTLE) for sentence in (a, b))
    return 2 * (first & second).total() / max(1, first.total() + second.total())
