"""Phrases of report text: which words the tokenizer merges."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from app.text.tokenizer import UNK, Tokenizer

_FIRST = 0xF0000  # of a private-use plane: a character for each word


def with_phrases(tokenizer: Tokenizer, reports: Iterable[Mapping[str, str]], count: int) -> Tokenizer:
    """The tokenizer of words with up to `count` phrases: those that byte-pair encoding of `reports` (section name to
    text) merges first, within sentences. Raises ImportError where `tokenizers` is not installed."""
    if not count:
        return tokenizer
    from tokenizers import Tokenizer as Trained
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    written = (
        "".join(chr(_FIRST + i) for i in sentence)
        for report in reports
        for text in report.values()
        for sentence in tokenizer.sentences(text)
        if UNK not in sentence
    )
    alphabet = [chr(_FIRST + i) for i in range(len(tokenizer))]
    trainer = BpeTrainer(
        vocab_size=len(alphabet) + count, initial_alphabet=alphabet, min_frequency=2, show_progress=False
    )
    trained = Trained(BPE())
    trained.train_from_iterator(written, trainer)
    ids: dict[tuple[int, ...], int] = {(_id(character),): _id(character) for character in alphabet}
    merges: list[tuple[int, int]] = []
    for pair in json.loads(trained.to_str())["model"]["merges"]:
        first, second = (tuple(map(_id, part)) for part in pair)
        if first + second not in ids:  # the same phrase of other parts
            ids[first + second] = len(tokenizer) + len(merges)
            merges.append((ids[first], ids[second]))
    return tokenizer.with_merges(merges)


def _id(character: str) -> int:
    return ord(character) - _FIRST
