"""A beam batch's step, network and search together, as a CUDA graph.

It works on the batch's own tables, from the first slot on: one is recorded for each batch, number of slots (powers of
two) and length (in blocks). Slots that are free or finished are stepped in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from app.inference.network.cuda_graphs import Recorder
from app.inference.network.packed_decoder import PackedDecoder
from app.inference.search.beam_batch import BeamBatch

BLOCK = 32  # steps; a graph reads the cache up to the end of the block its longest beam is in
STEPS = 4  # a turn: asking who is finished stops the device, and a step in vain costs less


class StepGraphs:
    """Steps beam batches by replay."""

    def __init__(self, decoder: PackedDecoder, record: Recorder) -> None:
        self._decoder, self._record = decoder, record
        self._recorded: dict[tuple[BeamBatch[Any], int, int], Callable[[], None]] = {}

    def __call__(self, batch: BeamBatch[Any]) -> None:
        """`STEPS` steps of all studies of a batch; who is finished is in its search."""
        for _ in range(STEPS):
            self._step(batch)

    def _step(self, batch: BeamBatch[Any]) -> None:
        slots = min(batch.capacity, 1 << (len(batch.studies) - 1).bit_length())
        blocks = -(-batch.search.longest // BLOCK)
        work = partial(self._work, batch, slots, blocks * BLOCK * batch.search.beams)
        if batch.search.plain:
            key = batch, slots, blocks
            if key not in self._recorded:
                self._recorded[key] = self._prepared(batch, work)
            self._recorded[key]()
        else:
            work()
        batch.search.steps += 1

    def _work(self, batch: BeamBatch[Any], slots: int, used: int) -> None:
        inputs = batch.inputs(slots)
        (logits,) = self._decoder.step([inputs], min(used, inputs.kv_cache[1].shape[2]))
        batch.search.choose(logits)

    def _prepared(self, batch: BeamBatch[Any], work: Callable[[], None]) -> Callable[[], None]:
        """Recording takes steps of its own, which are undone."""
        before = [table.clone() for table in batch.tables]
        replay = self._record(work)
        for table, kept in zip(batch.tables, before, strict=True):
            table.copy_(kept)
        return replay
