"""Beam batches, in which studies of one beam width advance together, and the search that takes one to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from torch import Tensor

from app.inference.network.decoder import Decoder, DecoderInput
from app.inference.options import DecodingOptions
from app.inference.search.beam_search import BeamSearch
from app.inference.search.beam_tables import TokenSequence, move

T = TypeVar("T")


class BeamBatch(Generic[T]):
    """Studies of one width in flight: the search, the studies by slot, and the decoder's tables by slot.

    `T` is what the caller knows a study by.
    """

    def __init__(self, decoder: Decoder, beams: int, capacity: int, max_tokens: int, cross_kv: list[Tensor]) -> None:
        """Room for `capacity` studies; `cross_kv` is that of one of them, for its shapes."""
        self.capacity = capacity
        self.studies: list[T] = []
        self.search = BeamSearch(beams, capacity, max_tokens, cross_kv[0].device)
        self._cross_kv = [row.new_zeros((capacity, *row.shape)) for row in cross_kv]
        self._kv_cache = decoder.allocate(capacity, beams, max_tokens)

    @property
    def rows(self) -> int:
        """Beams in flight."""
        return len(self.studies) * self.search.beams

    def adopt(self, other: BeamBatch[T]) -> None:
        """Takes over the studies of a smaller batch."""
        self.search.adopt(other.search)
        self.studies = other.studies
        for new, old in zip(self._cross_kv + self._kv_cache, other._cross_kv + other._kv_cache, strict=True):
            new[: len(old)] = old

    def admit(self, studies: Sequence[T], options: list[DecodingOptions], cross_kv: list[Tensor]) -> None:
        """Starts studies in the next slots; `cross_kv` has a row for each."""
        first = len(self.studies)
        for table, rows in zip(self._cross_kv, cross_kv, strict=True):
            table[first : first + len(studies)] = rows
        self.search.admit(options)
        self.studies = [*self.studies, *studies]

    def release(self, slots: Iterable[int]) -> list[int]:
        """Frees slots; the last studies move into them, in every tensor. Returns who is where now, by the slots of
        before."""
        kept = self.search.release(slots)
        move(self._cross_kv + self._kv_cache, kept)
        self.studies = [self.studies[slot] for slot in kept]
        return kept

    def clean(self, slot: int) -> None:
        """Forgets a slot's keys and values: a cache that holds what is not a number would give it to the next study."""
        for table in self._kv_cache:
            table[slot] = 0

    def inputs(self, slots: int | None = None) -> DecoderInput:
        """The next step's input; of the first `slots` slots rather than of those taken."""
        n = slots or len(self.studies)
        tokens, positions, ancestors = self.search.inputs(slots)
        cross_kv, kv_cache = [table[:n] for table in self._cross_kv], [table[:n] for table in self._kv_cache]
        return DecoderInput(tokens, positions, ancestors, cross_kv, kv_cache)

    @property
    def tables(self) -> list[Tensor]:
        """What a step writes, but for keys and values: cache slots taken in vain are free again."""
        return [*self.search.tables, *self._kv_cache[1:]]


def search(
    decoder: Decoder,
    cross_kv: list[Tensor],
    options: Sequence[DecodingOptions],
    *,
    batch: BeamBatch[int] | None = None,
    step: Callable[[BeamBatch[int]], None] | None = None,
) -> list[list[TokenSequence]]:
    """The sequences of studies of one width, in order, each study's best first: all begin together, nobody joins.

    `cross_kv` is as the decoder's `prepare` gives it. An empty `batch` of the right size may be used again; `step` may
    take it further in another way than by the decoder alone.
    """
    if batch is None:
        longest = max(one.max_new_tokens for one in options)
        batch = BeamBatch(decoder, options[0].num_beams, len(options), longest, [table[0] for table in cross_kv])
    batch.admit(range(len(options)), list(options), cross_kv)
    found: dict[int, list[TokenSequence]] = {}
    while batch.studies:
        if step is None:
            batch.search.advance(decoder.step([batch.inputs()])[0])
        else:
            step(batch)
        finished, _ = batch.search.outcome()
        for slot, sequences in zip(finished, batch.search.sequences(finished), strict=True):
            found[batch.studies[slot]] = sequences
        batch.release(finished)
    return [found[i] for i in range(len(options))]
