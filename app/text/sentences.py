"""The sentences of a report, word by word, with the positions the words have among the generated tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.text.tokenizer import SPECIAL_TOKENS, join_words

_ENDS = frozenset(".!?")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a section; `positions` are those of its words among the tokens, several to one of a phrase."""

    section: str
    words: tuple[str, ...]
    positions: tuple[int, ...]

    @property
    def text(self) -> str:
        """As written."""
        return join_words(self.words)

    @property
    def spoken(self) -> tuple[int, ...]:
        """The positions of words proper; of punctuation where there is nothing else."""
        proper = tuple(p for p, word in zip(self.positions, self.words, strict=True) if word[0].isalnum())
        return proper or self.positions


def sentences_of(tokens: Iterable[str], section_names: Sequence[str]) -> list[Sentence]:
    """The sentences of a hypothesis, section by section in the order of `section_names`."""
    markers = {f"<{name}>": name for name in section_names}
    parts: dict[str, list[tuple[int, str]]] = {name: [] for name in section_names}
    current = section_names[0]
    for position, token in enumerate(tokens):
        if token in markers:
            current = markers[token]
        elif token not in SPECIAL_TOKENS:
            parts[current] += [(position, word) for word in token.split(" ")]
    return [sentence for section, part in parts.items() for sentence in split(section, part)]


def split(section: str, numbered: Iterable[tuple[int, str]]) -> list[Sentence]:
    """Sentences of words with their positions; the number of an enumeration belongs to what it counts."""
    sentences: list[list[tuple[int, str]]] = []
    open_ = False
    for position, word in numbered:
        if not open_:
            sentences.append([])
        sentences[-1].append((position, word))
        open_ = word not in _ENDS or all(w.isdigit() for _, w in sentences[-1][:-1])
    return [Sentence(section, tuple(w for _, w in one), tuple(p for p, _ in one)) for one in sentences]
