"""The tokenizer: lower-cased words, punctuation and phrases in, readable cased text out.

Words keep the casing they mostly have inside sentences ("PA", "CT") and sentences get their capital back, so that
the vocabulary stays small and the text stays readable. Words that often follow each other within a sentence are merged
to phrases by byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909, with words in place of characters): reports
are formulaic, and each token costs a step. Section markers are tokens of their own: one sequence holds the whole
report, `<findings> … <impression> … `.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

PAD, BOS, EOS, UNK = range(4)
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")

_WORD = re.compile(r"[^\W_]+(?:[-/'.][^\W_]+)*|[^\w\s]")
_CLOSING = frozenset(".,;:!?)%]")
_OPENING = frozenset("([")
_SENTENCE_END = frozenset(".!?")


class TokenizerError(ValueError):
    """A tokenizer file that is not one of ours."""


def words(text: str) -> list[str]:
    """Words (with inner hyphens, slashes, apostrophes and points) and single punctuation marks, casing kept."""
    return _WORD.findall(text)


class Tokenizer:
    """Maps reports to ids and back. Ids 0 to 3 are pad, bos, eos, unk; section markers follow, words, then phrases."""

    def __init__(
        self, vocabulary: Sequence[str], section_names: Sequence[str], merges: Iterable[tuple[int, int]] = ()
    ) -> None:
        """`vocabulary` lists every word as it is displayed, most frequent first, without the special tokens. Each of
        `merges` makes one more token of two that there are, in the order in which they are to be tried."""
        self.section_names = tuple(section_names)
        self._section_ids = {len(SPECIAL_TOKENS) + i: name for i, name in enumerate(self.section_names)}
        tokens = [*SPECIAL_TOKENS, *(f"<{name}>" for name in self.section_names), *vocabulary]
        self._ids = {token.lower(): i for i, token in enumerate(tokens)}
        if len(self._ids) != len(tokens):
            raise TokenizerError("the vocabulary names a token twice")
        self._words = len(tokens)
        self._merges: dict[tuple[int, int], int] = {}
        for pair in merges:
            if pair in self._merges or not all(self._first_word <= i < len(tokens) for i in pair):
                raise TokenizerError("a merge is named twice, or of tokens that are not there")
            self._merges[pair] = len(tokens)
            tokens.append(" ".join(tokens[i] for i in pair))
        self.tokens = tuple(tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def _first_word(self) -> int:
        return len(SPECIAL_TOKENS) + len(self.section_names)

    @classmethod
    def build(cls, reports: Iterable[Mapping[str, str]], section_names: Sequence[str], min_count: int = 1) -> Tokenizer:
        """The vocabulary of training reports (section name to text): words seen at least `min_count` times."""
        counts: Counter[str] = Counter()
        casings: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for report in reports:
            for name in section_names:
                previous = "."
                for word in words(report.get(name, "")):
                    counts[word.lower()] += 1
                    # A capital at the start of a sentence says nothing about the word.
                    if previous not in _SENTENCE_END or word.isupper():
                        casings[word.lower()][word] += 1
                    previous = word
        kept = sorted((word for word, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
        # One stray capital must not win: the lower-case form is displayed unless it is the minority.
        display = [max((casings[w] or {w: 1}).items(), key=lambda item: (item[1], item[0]))[0] for w in kept]
        return cls(display, section_names)

    def with_merges(self, merges: Iterable[tuple[int, int]]) -> Tokenizer:
        """The same words, with these phrases."""
        return Tokenizer(self.tokens[self._first_word : self._words], self.section_names, merges)

    def encode(self, sections: Mapping[str, str]) -> list[int]:
        """Ids of a report, without bos and eos; sections that are absent or empty leave no marker."""
        ids: list[int] = []
        for section_id, name in self._section_ids.items():
            text = sections.get(name, "")
            if text:
                ids.append(section_id)
                for sentence in self.sentences(text):
                    ids.extend(self._merged(sentence))
        return ids

    def sentences(self, text: str) -> list[tuple[int, ...]]:
        """The words of each sentence by their ids: phrases never reach beyond."""
        found: list[list[int]] = [[]]
        for word in words(text):
            found[-1].append(self._ids.get(word.lower(), UNK))
            if word in _SENTENCE_END:
                found.append([])
        return [tuple(sentence) for sentence in found if sentence]

    def _merged(self, sentence: tuple[int, ...]) -> list[int]:
        ids = list(sentence)
        while len(ids) > 1:
            first = min(itertools.pairwise(ids), key=lambda pair: self._merges.get(pair, len(self.tokens)))
            if first not in self._merges:
                break
            merged = [ids[0]]
            for i in ids[1:]:
                if (merged[-1], i) == first:
                    merged[-1] = self._merges[first]
                else:
                    merged.append(i)
            ids = merged
        return ids

    def decode(self, ids: Iterable[int]) -> dict[str, str]:
        """Section name to readable text, in the order the sections have; empty sections are left out."""
        parts: dict[str, list[str]] = {name: [] for name in self.section_names}
        current = self.section_names[0]
        for i in ids:
            if i in self._section_ids:
                current = self._section_ids[i]
            elif i not in (PAD, BOS, EOS):
                parts[current] += self.tokens[i].split(" ")
        return {name: join_words(part) for name, part in parts.items() if part}

    def to_json(self) -> bytes:
        """The file `tokenizer.json` of the archive."""
        content = {
            "type": "phrase",
            "section_names": self.section_names,
            "vocabulary": self.tokens[self._first_word : self._words],
            "merges": list(self._merges),
        }
        return json.dumps(content, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Tokenizer:
        """Raises `TokenizerError` when `data` is not what `to_json` writes."""
        try:
            content = json.loads(data)
            if content["type"] != "phrase":
                raise TokenizerError(f"unknown tokenizer type {content['type']!r}")
            return cls(
                [str(word) for word in content["vocabulary"]],
                [str(name) for name in content["section_names"]],
                [(int(first), int(second)) for first, second in content["merges"]],
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, TokenizerError):
                raise
            raise TokenizerError(f"tokenizer.json cannot be read: {error!r}") from error


def join_words(tokens: Iterable[str]) -> str:
    """Words and punctuation as written text: no blank before closing marks, a capital after a full stop."""
    text: list[str] = []
    glue, capital = True, True
    for token in tokens:
        if not glue and token not in _CLOSING:
            text.append(" ")
        text.append(token[:1].upper() + token[1:] if capital else token)
        glue = token in _OPENING
        capital = token in _SENTENCE_END
    return "".join(text)
