"""A lane's step, network and search together, as a CUDA graph.

It works on the lane's own tables, from the first slot on: one is recorded for each lane, number of slots (powers of
two) and length (in blocks). Slots that are free or over are stepped in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from app.inference.network.cuda_graphs import Recorder
from app.inference.network.packed_decoder import PackedDecoder
from app.inference.search.beam_batch import Lane

BLOCK = 32  # steps; a graph reads the cache up to the end of the block its longest beam is in
STEPS = 4  # a turn: asking who is over stops the device, and a step in vain costs less


class LaneGraphs:
    """Steps lanes by replay."""

    def __init__(self, decoder: PackedDecoder, record: Recorder) -> None:
        self._decoder, self._record = decoder, record
        self._recorded: dict[tuple[Lane, int, int], Callable[[], None]] = {}

    def step(self, lane: Lane) -> None:
        """One step of all studies of a lane; who is over is in its search."""
        slots = min(lane.capacity, 1 << (len(lane.studies) - 1).bit_length())
        blocks = -(-lane.search.longest // BLOCK)
        work = partial(self._work, lane, slots, blocks * BLOCK * lane.search.beams)
        if lane.search.plain:
            key = lane, slots, blocks
            if key not in self._recorded:
                self._recorded[key] = self._prepared(lane, work)
            self._recorded[key]()
        else:
            work()
        lane.search.steps += 1

    def _work(self, lane: Lane, slots: int, used: int) -> None:
        inputs = lane.inputs(slots)
        (logits,) = self._decoder.step([inputs], min(used, inputs.state[1].shape[2]))
        lane.search.choose(logits)

    def _prepared(self, lane: Lane, work: Callable[[], None]) -> Callable[[], None]:
        """Recording takes steps of its own, which are undone."""
        before = [table.clone() for table in lane.tables]
        replay = self._record(work)
        for table, kept in zip(lane.tables, before, strict=True):
            table.copy_(kept)
        return replay
