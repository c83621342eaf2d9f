"""Beam search as a tensor program: studies of one width advance together, each at its own position, by its own options.

Choosing tokens is kept apart from running the network: whoever holds a `BeamSearch` asks it for the next decoder input
and hands it the logits. Semantics are those of Hugging Face `generate` (transformers 5, `_beam_search`; with one beam
its greedy search), applied to each study as if it were alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.inference.options import DecodingOptions
from app.inference.search.logits_processors import penalised, without_repeats
from app.text.tokenizer import BOS, EOS, PAD

# What Hugging Face adds to a score that must not win; finite, so that sums of it still order.
NEVER = -1.0e9


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A finished hypothesis: generated ids (no bos, eos kept), their log-probabilities, length-normalised score."""

    ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    score: float


class BeamSearch:
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
        self._asks = device.type == "cpu"  # whether asking what may be left out costs less than doing it
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
        self.max_new_tokens = table(shape[:1], 1, torch.long)
        self.min_new_tokens = table(shape[:1], 0, torch.long)
        self.stop_when_full = table(shape[:1], False, torch.bool)
        self.hope_to_the_end = table(shape[:1], False, torch.bool)
        self.repetition_penalty = table(shape[:1], 1.0, torch.float32)
        self.no_repeat_ngram_size = table(shape[:1], 0, torch.long)
        self.tables = [value for value in vars(self).values() if isinstance(value, Tensor)]
        self._own = torch.arange(beams, device=device)
        self._first = torch.arange(2 * beams, device=device) < beams
        self._every_position = torch.arange(max_tokens + 1, device=device)

    @property
    def longest(self) -> int:
        """Tokens of the longest running beam, bos included."""
        return self.steps - min(self._begun) + 1

    @property
    def plain(self) -> bool:
        """Whether every step is the same work, whatever the options: no study forbids repeats of some length."""
        return not any(options.no_repeat_ngram_size for options in self.options)

    def admit(self, options: list[DecodingOptions]) -> range:
        """Starts studies in the next slots and returns the slots."""
        slots = range(self.size, self.size + len(options))
        new = slice(slots.start, slots.stop)
        self.size = slots.stop
        self.options = self.options + options
        self._begun = self._begun + [self.steps] * len(options)
        for cleared in (self.finished, self.non_finite, self.done, self.positions):
            cleared[new] = 0
        for unlikely in (self.scores, self.done_scores):
            unlikely[new] = NEVER
        self.scores[new, 0] = 0.0
        self.tokens[new, :, 0] = BOS
        self.ancestors[new, :, 0] = self._own
        given = [
            (self.length_penalty, [one.length_penalty for one in options]),
            (self.max_new_tokens, [one.max_new_tokens for one in options]),
            (self.min_new_tokens, [one.min_new_tokens for one in options]),
            (self.stop_when_full, [one.early_stopping is True for one in options]),
            # "never": assume until the last that longer could be better, where the penalty rewards length.
            (self.hope_to_the_end, [one.early_stopping == "never" and one.length_penalty > 0 for one in options]),
            (self.repetition_penalty, [one.repetition_penalty for one in options]),
            # Sizes the table does not hold never act.
            (self.no_repeat_ngram_size, [min(one.no_repeat_ngram_size, self.tokens.shape[2]) for one in options]),
        ]
        values = torch.tensor([column for _, column in given], dtype=torch.float64).to(self.finished.device)
        for (filled, _), column in zip(given, values, strict=True):
            filled[new] = column
        return slots

    def adopt(self, other: BeamSearch) -> None:
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

    def inputs(self, slots: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The next decoder input: tokens i64[N,K], positions i64[N], ancestors i64[N,K,T], T > max(positions).

        N is the number of studies, or `slots`: free ones are then stepped with the others.
        """
        n = slots or self.size
        positions = self.positions[:n]
        latest = positions[:, None, None].expand(n, self.beams, 1)
        length = self.ancestors.shape[2] if slots else self.longest
        return self.tokens[:n].gather(2, latest)[..., 0], positions, self.ancestors[:n, :, :length]

    def advance(self, logits: Tensor) -> None:
        """One step with `logits` f32[N,K,V]; what came of it is `outcome`."""
        self.choose(logits)
        self.steps += 1

    def choose(self, logits: Tensor) -> None:
        """A step's tensor program: what to write given `logits` f32[N,K,V]. On a GPU it asks nothing of the device."""
        lengths = self.positions[: len(logits)] + 1
        if self.beams == 1:
            finished, best = self._advance_greedily(logits[:, 0], lengths)
        else:
            finished, best = self._advance_beams(logits, lengths)
        n = len(logits)
        self.finished[:n] |= finished
        self.non_finite[:n] |= best.isnan()
        # What is finished stays within its tables.
        self.positions[:n] = lengths.clamp(max=self.tokens.shape[2] - 2)

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

    def _advance_greedily(self, logits: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Hugging Face's greedy search: processors see raw logits f32[N,V], the first of equal maxima wins.

        Returns which studies end and the log-probability of the best continuation, [N] both."""
        n = len(lengths)
        all_log_probs = logits.log_softmax(-1)
        chosen = self._processed(logits[:, None], lengths)[:, 0].argmax(-1, keepdim=True)
        log_probs = all_log_probs.gather(1, chosen)
        self.scores[:n] += log_probs
        self._write(torch.zeros_like(chosen), chosen, log_probs, lengths)
        finished = (chosen[:, 0] == EOS) | (lengths >= self.max_new_tokens[:n])
        if self._any(finished):
            ending = (finished & ~self.finished[:n])[:, None]
            for kept, new in (
                (self.done_scores, self.scores[:n] / self._penalty(lengths)),
                (self.done_lengths, lengths[:, None]),
                (self.done_tokens, chosen),
                (self.done_log_probs, log_probs),
            ):
                kept[:n] = torch.where(ending, new, kept[:n])
        return finished, log_probs[:, 0]

    def _advance_beams(self, logits: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Which studies end, and the best continuation's total, [N] both."""
        n, beams, vocabulary = logits.shape
        all_log_probs = self._processed(logits.log_softmax(-1), lengths)
        totals = (all_log_probs + self.scores[:n, :, None]).flatten(1)
        # Twice the beams: even when the best K all end, K remain to go on.
        totals, flat = totals.topk(2 * beams)
        parents, tokens = flat // vocabulary, flat % vocabulary
        log_probs = all_log_probs.flatten(1).gather(1, flat)
        ends = (tokens == EOS) | (lengths >= self.max_new_tokens[:n])[:, None]
        # Only the first K candidates may end a sequence.
        just_done = ends & self._first & ~self.finished[:n, None]
        if self._any(just_done):
            self._merge_finished(totals, parents, tokens, log_probs, just_done, lengths)
        open_totals = totals + ends * NEVER
        kept = open_totals.topk(beams)[1]
        self.scores[:n] = open_totals.gather(1, kept)
        self._write(parents.gather(1, kept), tokens.gather(1, kept), log_probs.gather(1, kept), lengths)
        return self._finished(ends, lengths), totals[:, 0]

    def _any(self, mask: Tensor) -> bool:
        """Whether what `mask` selects must be looked at: if any, and always where asking would stop the device."""
        return not self._asks or bool(mask.any())

    def _merge_finished(
        self, totals: Tensor, parents: Tensor, tokens: Tensor, log_probs: Tensor, just_done: Tensor, lengths: Tensor
    ) -> None:
        """Merges candidates [N,2K] that end, those of `just_done`, with the best finished so far."""
        n = len(lengths)
        scores = totals / self._penalty(lengths) + ~just_done * NEVER
        merged = torch.cat([self.done_scores[:n], scores], 1)
        best = merged.topk(self.beams)[1]
        self.done_scores[:n] = merged.gather(1, best)
        for kept, new in (
            (self.done, just_done),
            (self.done_lengths, lengths[:, None].expand_as(tokens)),
            (self.done_tokens, tokens),
            (self.done_log_probs, log_probs),
            (self.done_parents, parents),
        ):
            kept[:n] = torch.cat([kept[:n], new], 1).gather(1, best)

    def _write(self, parents: Tensor, tokens: Tensor, log_probs: Tensor, lengths: Tensor) -> None:
        """Writes the surviving continuations [N,K] into the log: a beam takes its parent's past and adds itself."""
        n = len(lengths)
        latest = lengths[:, None, None].expand(n, self.beams, 1)
        for log, new in ((self.tokens, tokens), (self.log_probs, log_probs), (self.parents, parents)):
            log[:n].scatter_(2, latest, new[..., None])
        past = self.ancestors[:n].gather(1, parents[..., None].expand(-1, -1, self.ancestors.shape[2]))
        self.ancestors[:n] = past.scatter_(2, latest, self._own[None, :, None].expand(n, -1, 1))

    def _finished(self, ends: Tensor, lengths: Tensor) -> Tensor:
        """Which studies are finished, bool[N]: nothing open can win any more, all beams are done, or none goes on."""
        n = len(lengths)
        hoped = torch.where(self.hope_to_the_end[:n], self.max_new_tokens[:n], lengths)
        best_possible = self.scores[:n, 0] / self._penalty(hoped)[:, 0]
        all_done = self.done[:n].all(1)
        worst_done = self.done_scores[:n].amin(1).masked_fill(~all_done, NEVER)
        return (best_possible <= worst_done) | (all_done & self.stop_when_full[:n]) | ends.all(1)

    def _penalty(self, lengths: Tensor) -> Tensor:
        """length ** length_penalty, f32[N,1]; the power in double, as Python floats have it."""
        return (lengths.double() ** self.length_penalty[: len(lengths)]).float()[:, None]

    def _processed(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """Scores [N,K,V] after repetition_penalty, no_repeat_ngram_size and min_new_tokens, in Hugging Face's order."""
        n = len(lengths)
        penalising = not self._asks or any(one.repetition_penalty != 1.0 for one in self.options)
        sizes = {one.no_repeat_ngram_size for one in self.options} - {0}
        if penalising or sizes:
            past = self._past(lengths)
            if penalising:
                scores = penalised(scores, past, self.repetition_penalty[:n])
            for size in sizes:
                scores = without_repeats(scores, past, lengths, size, self.no_repeat_ngram_size[:n] == size)
        too_short = lengths <= self.min_new_tokens[:n]
        if self._any(too_short):
            scores[..., EOS].masked_fill_(too_short[:, None], float("-inf"))
        return scores

    def _past(self, lengths: Tensor) -> Tensor:
        """What each running beam has written, bos first: i64[N,K,T], T >= the longest; bos stands beyond its end."""
        reach = self.longest if self._asks else self.tokens.shape[2]  # what is recorded has one size
        past = self.tokens[: len(lengths)].gather(1, self.ancestors[: len(lengths), :, :reach])
        return past.masked_fill_(self._every_position[:reach] >= lengths[:, None, None], BOS)


def move(tables: Iterable[Tensor], slots: list[int]) -> None:
    """Moves rows `slots` of each table to rows 0, 1, 2 …"""
    moves = [(to, slot) for to, slot in enumerate(slots) if to != slot]
    if not moves:
        return
    to, origin = torch.tensor(moves).T
    for table in tables:
        to, origin = to.to(table.device, non_blocking=True), origin.to(table.device, non_blocking=True)
        table[to] = table[origin]
