"""Lanes, in which studies of one beam width advance together."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from app.inference.engine.request import Study
from app.inference.network.decoder import Decoder, LaneStep
from app.inference.search.beam_search import BeamLane, move


class Lane:
    """Studies of one width in flight: the search, the studies by slot, and the decoder's tensors by slot."""

    def __init__(self, decoder: Decoder, beams: int, capacity: int, max_tokens: int, constants: list[Tensor]) -> None:
        """Room for `capacity` studies; `constants` are those of one of them, for their shapes."""
        self.capacity = capacity
        self.studies: list[Study] = []
        self.search = BeamLane(beams, capacity, max_tokens, constants[0].device)
        self._constants = [row.new_zeros((capacity, *row.shape)) for row in constants]
        self._state = decoder.allocate(capacity, beams, max_tokens)

    @property
    def rows(self) -> int:
        """Beams in flight."""
        return len(self.studies) * self.search.beams

    def adopt(self, other: Lane) -> None:
        """Takes over the studies of a smaller lane."""
        self.search.adopt(other.search)
        self.studies = other.studies
        for new, old in zip(self._constants + self._state, other._constants + other._state, strict=True):
            new[: len(old)] = old

    def admit(self, studies: list[Study], constants: list[Tensor]) -> None:
        """Starts studies in the next slots; `constants` have a row for each."""
        first = len(self.studies)
        for table, rows in zip(self._constants, constants, strict=True):
            table[first : first + len(studies)] = rows
        self.search.admit([study.options for study in studies])
        self.studies = self.studies + studies

    def release(self, slots: Iterable[int]) -> None:
        """Frees slots; the last studies move into them, in every tensor."""
        kept = self.search.release(slots)
        move(self._constants + self._state, kept)
        self.studies = [self.studies[slot] for slot in kept]

    def clean(self, slot: int) -> None:
        """Forgets a slot's state: a cache that holds what is not a number would give it to the next study."""
        for table in self._state:
            table[slot] = 0

    def inputs(self, slots: int | None = None) -> LaneStep:
        """The next step's input; of the first `slots` slots rather than of those taken."""
        n = slots or len(self.studies)
        tokens, positions, ancestors = self.search.inputs(slots)
        return LaneStep(tokens, positions, ancestors, [c[:n] for c in self._constants], [s[:n] for s in self._state])

    def advance(self, logits: Tensor) -> None:
        """One step of the search with `logits` f32[N,K,V]; what came of it is `search.outcome`."""
        self.search.choose(logits)
        self.search.steps += 1

    @property
    def tables(self) -> list[Tensor]:
        """What a step writes, but for keys and values: places of the cache taken in vain are free again."""
        return [*self.search.tables, *self._state[1:]]
