"""Beam search as a tensor program: studies of one width advance together, each at its own position, by its own options.

Choosing tokens is kept apart from running the network: whoever holds a `BeamSearch` asks it for the next decoder input
and hands it the logits. Semantics are those of Hugging Face `generate` (transformers 5, `_beam_search`; with one beam
its greedy search), applied to each study as if it were alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from app.inference.native.library import library
from app.inference.options import MAX_BEAMS, DecodingOptions
from app.inference.search.beam_tables import NEVER, BeamTables
from app.inference.search.logits_processors import penalised, without_repeats
from app.inference.search.native_search import NativeChoice
from app.text.tokenizer import BOS, EOS, PAD


class OptionsFailedError(Exception):
    """A step cannot be taken with the options of the studies in these `slots`; without them it can, with `logits`."""

    def __init__(self, slots: set[int], logits: Tensor) -> None:
        super().__init__(f"the options of {len(slots)} studies failed")
        self.slots, self.logits = slots, logits


class BeamSearch(BeamTables):
    """Chooses tokens for the studies in its tables."""

    def __init__(self, beams: int, capacity: int, max_tokens: int, device: torch.device) -> None:
        """`capacity` studies of at most `max_tokens` generated tokens each."""
        super().__init__(beams, capacity, max_tokens, device)
        self._asks = device.type == "cpu"  # whether asking what may be left out costs less than doing it
        self._vocabulary = 1 + max(BOS, EOS, PAD)  # until the first step tells
        self._first = torch.arange(2 * beams, device=device) < beams
        self._every_position = torch.arange(max_tokens + 1, device=device)
        built = library() if device.type == "cpu" and beams <= MAX_BEAMS else None
        self._native = NativeChoice(self, built) if built else None

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
        """A step's tensor program: what to write given `logits` f32[N,K,V]. On a GPU it asks nothing of the device.

        Raises `OptionsFailedError`, with nothing written, where it is the options of some that it fails at.
        """
        self._vocabulary = logits.shape[-1]
        if self._native:
            self._native(logits)
            return
        try:
            self._choose(logits)
        except Exception as error:
            if slots := {slot for slot, options in enumerate(self.options) if self.fails_at(options, slot)}:
                raise OptionsFailedError(slots, logits) from error
            raise

    def _choose(self, logits: Tensor) -> None:
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

    def fails_at(self, options: DecodingOptions, slot: int | None = None) -> bool:
        """Whether these options are what the search fails at: a study alone raises with them, at the point where the
        one in `slot` is, and does not with the defaults."""
        fails = []
        for tried in (options, DecodingOptions(self.beams)):
            alone = BeamSearch(self.beams, 1, self.tokens.shape[2] - 1, self.tokens.device)
            try:
                alone.admit([tried])
                if slot is not None:
                    alone.tokens[0], alone.ancestors[0] = self.tokens[slot], self.ancestors[slot]
                    alone.positions[0] = self.positions[slot]
                    alone.steps = self.steps - self._begun[slot]
                alone._choose(torch.zeros(1, self.beams, self._vocabulary, device=self.tokens.device))
            except Exception:
                fails.append(True)
            else:
                fails.append(False)
        return fails == [True, False]

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
        scores = totals / self._penalty(lengths) + ~just_done * self.never[:n, None]
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
        worst_done = torch.where(all_done, self.done_scores[:n].amin(1), self.never[:n])
        return (best_possible <= worst_done) | (all_done & self.stop_when_full[:n]) | ends.all(1)

    def _penalty(self, lengths: Tensor) -> Tensor:
        """length ** length_penalty, f32[N,1]; the power in double, as Python floats have it."""
        return (lengths.double() ** self.length_penalty[: len(lengths)]).float()[:, None]

    def _processed(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """Scores [N,K,V] after repetition_penalty, no_repeat_ngram_size and min_new_tokens, in Hugging Face's order."""
        n = len(lengths)
        penalising = not self._asks or any(one.repetition_penalty != 1.0 for one in self.options)
        sizes = self.ngram_sizes
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
