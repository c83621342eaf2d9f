"""Beam batches, in which studies of one beam width advance together."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from app.inference.engine.request import StudyRequest
from app.inference.network.decoder import Decoder, DecoderInput
from app.inference.search.beam_search import BeamSearch, move


class BeamBatch:
    """Studies of one width in flight: the search, the studies by slot, and the decoder's tensors by slot."""

    def __init__(self, decoder: Decoder, beams: int, capacity: int, max_tokens: int, cross_kv: list[Tensor]) -> None:
        """Room for `capacity` studies; `cross_kv` is that of one of them, for its shapes."""
        self.capacity = capacity
        self.studies: list[StudyRequest] = []
        self.search = BeamSearch(beams, capacity, max_tokens, cross_kv[0].device)
        self._cross_kv = [row.new_zeros((capacity, *row.shape)) for row in cross_kv]
        self._kv_cache = decoder.allocate(capacity, beams, max_tokens)

    @property
    def rows(self) -> int:
        """Beams in flight."""
        return len(self.studies) * self.search.beams

    def adopt(self, other: BeamBatch) -> None:
        """Takes over the studies of a smaller batch."""
        self.search.adopt(other.search)
        self.studies = other.studies
        for new, old in zip(self._cross_kv + self._kv_cache, other._cross_kv + other._kv_cache, strict=True):
            new[: len(old)] = old

    def admit(self, studies: list[StudyRequest], cross_kv: list[Tensor]) -> None:
        """Starts studies in the next slots; `cross_kv` has a row for each."""
        first = len(self.studies)
        for table, rows in zip(self._cross_kv, cross_kv, strict=True):
            table[first : first + len(studies)] = rows
        self.search.admit([study.options for study in studies])
        self.studies = self.studies + studies

    def release(self, slots: Iterable[int]) -> None:
        """Frees slots; the last studies move into them, in every tensor."""
        kept = self.search.release(slots)
        move(self._cross_kv + self._kv_cache, kept)
        self.studies = [self.studies[slot] for slot in kept]

    def clean(self, slot: int) -> None:
        """Forgets a slot's keys and values: a cache that holds what is not a number would give it to the next study."""
        for table in self._kv_cache:
            table[slot] = 0

    def inputs(self, slots: int | None = None) -> DecoderInput:
        """The next step's input; of the first `slots` slots rather than of those taken."""
        n = slots or len(self.studies)
        tokens, positions, ancestors = self.search.inputs(slots)
        cross_kv, kv_cache = ([table[:n] for table in tables] for tables in (self._cross_kv, self._kv_cache))
        return DecoderInput(tokens, positions, ancestors, cross_kv, kv_cache)

    def advance(self, logits: Tensor) -> None:
        """One step of the search with `logits` f32[N,K,V]; what came of it is `search.outcome`."""
        self.search.choose(logits)
        self.search.steps += 1

    @property
    def tables(self) -> list[Tensor]:
        """What a step writes, but for keys and values: cache slots taken in vain are free again."""
        return [*self.search.tables, *self._kv_cache[1:]]
