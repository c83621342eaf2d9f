"""What is known of studies that are searched together, by slot: their beams, finished sequences and options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.inference.options import DecodingOptions
from app.text.tokenizer import BOS, PAD

# What Hugging Face adds to what must not win; finite, so that sums of it still order. Totals, which are sums of
# log-probabilities, stay far above it, and so do scores as long as `length_penalty` is no less than -1 (`never`).
NEVER = -1.0e9


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A finished hypothesis: generated ids (no bos, eos kept), their log-probabilities, length-normalised score."""

    ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    score: float


class BeamTables:
    """Studies searched with the same number of beams K, in slots 0 to N-1 without holes.

    The last studies move into slots that are freed, so that the active part of every tensor is a prefix. On a GPU each
    call costs, however little it does: studies are admitted, read and released together.
    """

    def __init__(self, beams: int, capacity: int, max_tokens: int, device: torch.device) -> None:
        """`capacity` studies of at most `max_tokens` generated tokens each."""
        self.beams = beams
        self.size = 0
        self.options: list[DecodingOptions] = []
        self.steps = 0  # so far
        self._begun: list[int] = []  # at which of them each study came
        shape = (capacity, beams, max_tokens + 1)

        def table(shape: tuple[int, ...], value: float, dtype: torch.dtype) -> Tensor:
            return torch.full(shape, value, dtype=dtype, device=device)

        # What each beam wrote at each position (bos first), its log-probability, and which beam of the step before it
        # continued: a log that is never rewritten. `ancestors` is who wrote each position of a running beam's past.
        self.tokens = table(shape, PAD, torch.long)
        self.log_probs = table(shape, 0.0, torch.float32)
        self.parents = table(shape, 0, torch.long)
        self.ancestors = table(shape, 0, torch.long)
        self.scores = table(shape[:2], NEVER, torch.float32)
        # The best finished sequences so far, best first: score, length, last token, the beam it continues.
        self.done = table(shape[:2], False, torch.bool)
        self.done_scores = table(shape[:2], NEVER, torch.float32)
        self.done_lengths = table(shape[:2], 0, torch.long)
        self.done_tokens = table(shape[:2], PAD, torch.long)
        self.done_log_probs = table(shape[:2], 0.0, torch.float32)
        self.done_parents = table(shape[:2], 0, torch.long)
        # One value a study; what is finished may be stepped on and changes no more.
        self.finished = table(shape[:1], False, torch.bool)
        self.non_finite = table(shape[:1], False, torch.bool)
        self.positions = table(shape[:1], 0, torch.long)
        self.length_penalty = table(shape[:1], 1.0, torch.float64)
        self.never = table(shape[:1], NEVER, torch.float32)
        self.max_new_tokens = table(shape[:1], 1, torch.long)
        self.min_new_tokens = table(shape[:1], 0, torch.long)
        self.stop_when_full = table(shape[:1], False, torch.bool)
        self.hope_to_the_end = table(shape[:1], False, torch.bool)
        self.repetition_penalty = table(shape[:1], 1.0, torch.float32)
        self.no_repeat_ngram_size = table(shape[:1], 0, torch.long)
        self.tables = [value for value in vars(self).values() if isinstance(value, Tensor)]
        self._own = torch.arange(beams, device=device)

    @property
    def longest(self) -> int:
        """Tokens of the longest running beam, bos included."""
        return self.steps - min(self._begun) + 1

    @property
    def plain(self) -> bool:
        """Whether every step is the same work, whatever the options: no study forbids repeats of some length."""
        return not self.ngram_sizes

    @property
    def ngram_sizes(self) -> set[int]:
        """The `no_repeat_ngram_size`s that act: what the tables do not hold never repeats."""
        return {one.no_repeat_ngram_size for one in self.options if 0 < one.no_repeat_ngram_size < self.tokens.shape[2]}

    def admit(self, options: list[DecodingOptions]) -> range:
        """Starts studies in the next slots and returns the slots. Who raises has started nobody."""
        slots = range(self.size, self.size + len(options))
        new = slice(slots.start, slots.stop)
        longest = self.tokens.shape[2] - 1
        given = [
            (self.length_penalty, [one.length_penalty for one in options]),
            # Below -1 a score grows faster than the text: so must what no score reaches, or it would win.
            (self.never, [NEVER * float(longest) ** max(0.0, -1.0 - one.length_penalty) for one in options]),
            (self.max_new_tokens, [one.max_new_tokens for one in options]),
            (self.min_new_tokens, [one.min_new_tokens for one in options]),
            (self.stop_when_full, [one.early_stopping is True for one in options]),
            # "never": assume until the last that longer could be better, where the penalty rewards length.
            (self.hope_to_the_end, [one.early_stopping == "never" and one.length_penalty > 0 for one in options]),
            (self.repetition_penalty, [one.repetition_penalty for one in options]),
            (self.no_repeat_ngram_size, [min(one.no_repeat_ngram_size, self.tokens.shape[2]) for one in options]),
        ]
        values = torch.tensor([column for _, column in given], dtype=torch.float64).to(self.finished.device)
        self.size = slots.stop
        self.options = self.options + options
        self._begun = self._begun + [self.steps] * len(options)
        for cleared in (self.finished, self.non_finite, self.done, self.positions):
            cleared[new] = 0
        self.scores[new] = NEVER
        self.scores[new, 0] = 0.0
        self.tokens[new, :, 0] = BOS
        self.ancestors[new, :, 0] = self._own
        for (filled, _), column in zip(given, values, strict=True):
            filled[new] = column
        self.done_scores[new] = self.never[new, None]
        return slots

    def adopt(self, other: BeamTables) -> None:
        """Takes over the studies of a smaller search of the same width."""
        self.size, self.options, self.steps, self._begun = other.size, other.options, other.steps, other._begun
        for tensor, taken in zip(self.tables, other.tables, strict=True):
            tensor[: len(taken)] = taken

    def release(self, slots: Iterable[int]) -> list[int]:
        """Frees slots, into which the last studies move. Returns what the first slots now hold, by the slots of before:
        `move` does the same to the caller's own tensors."""
        kept = list(range(self.size))
        for slot in sorted(slots, reverse=True):
            kept[slot] = kept[-1]
            kept.pop()
        move(self.tables, kept)
        self.options, self._begun = [self.options[slot] for slot in kept], [self._begun[slot] for slot in kept]
        self.size = len(kept)
        return kept

    def outcome(self) -> tuple[list[int], list[int]]:
        """Slots whose search is finished, and slots for which the network gave no number; highest first."""
        finished, non_finite = torch.stack([self.finished[: self.size], self.non_finite[: self.size]]).tolist()
        slots = range(self.size - 1, -1, -1)
        return [slot for slot in slots if finished[slot]], [slot for slot in slots if non_finite[slot]]

    def sequences(self, slots: list[int]) -> list[list[TokenSequence]]:
        """The finished sequences of studies, best first, as many as the options of each ask for."""
        if not slots:
            return []
        rows = torch.tensor(slots).to(self.finished.device)

        def read(*tables: Tensor) -> list[list[Any]]:
            values: list[list[Any]] = torch.stack([table[rows] for table in tables]).tolist()
            return values

        lengths, last, before = read(self.done_lengths, self.done_tokens, self.done_parents)
        scores, last_log_probs = read(self.done_scores, self.done_log_probs)
        end = max(map(max, lengths))
        tokens, parents = read(self.tokens[..., :end], self.parents[..., :end])
        (log_probs,) = read(self.log_probs[..., :end])

        def sequence(i: int, rank: int) -> TokenSequence:
            ids, log_probabilities, beam = [last[i][rank]], [last_log_probs[i][rank]], before[i][rank]
            for position in range(lengths[i][rank] - 1, 0, -1):
                ids.append(tokens[i][beam][position])
                log_probabilities.append(log_probs[i][beam][position])
                beam = parents[i][beam][position]
            return TokenSequence(tuple(reversed(ids)), tuple(reversed(log_probabilities)), scores[i][rank])

        wanted = [self.options[slot].num_return_sequences for slot in slots]
        return [[sequence(i, rank) for rank in range(count)] for i, count in enumerate(wanted)]


def move(tables: Iterable[Tensor], slots: list[int]) -> None:
    """Moves rows `slots` of each table to rows 0, 1, 2 …"""
    moves = [(to, slot) for to, slot in enumerate(slots) if to != slot]
    if not moves:
        return
    to, origin = torch.tensor(moves).T
    for table in tables:
        to, origin = to.to(table.device, non_blocking=True), origin.to(table.device, non_blocking=True)
        table[to] = table[origin]
