"""The packed decoder's steps recorded as CUDA graphs: on a GPU small steps are bound by launching their kernels.

A graph is of fixed tensors: one is recorded for every lane's tables, number of studies, and length in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.inference.decoder import LaneStep, PackedDecoder

BLOCK = 16  # steps; a graph reads the cache up to the end of the block its longest beam is in

# Records work on fixed tensors; what is returned does it again.
Recorder = Callable[[Callable[[], None]], Callable[[], None]]


@dataclass(frozen=True, slots=True)
class _Recorded:
    inputs: LaneStep
    logits: Tensor
    replay: Callable[[], None]


class GraphedDecoder:
    """`PackedDecoder` by replay, lane by lane."""

    def __init__(self, decoder: PackedDecoder, record: Recorder | None = None) -> None:
        """`record` is for tests on machines without a GPU."""
        self._decoder = decoder
        self._record = record or record_cuda_graph
        self._recorded: dict[tuple[int, ...], _Recorded] = {}
        self.prepare, self.allocate = decoder.prepare, decoder.allocate

    def step(self, lanes: Sequence[LaneStep]) -> list[Tensor]:
        """Logits f32[N,K,V] of each lane, valid until its next step; states are written in place."""
        return [self._step(lane) for lane in lanes]

    def _step(self, lane: LaneStep) -> Tensor:
        length = -(-lane.ancestors.shape[2] // BLOCK) * BLOCK
        tensors = (*lane.constants, *lane.state)
        key = (*lane.tokens.shape, length, *(tensor.data_ptr() for tensor in tensors))
        recorded = self._recorded.get(key)
        if recorded is None:
            recorded = self._recorded[key] = self._prepared(lane, length)
        recorded.inputs.tokens.copy_(lane.tokens)
        recorded.inputs.positions.copy_(lane.positions)
        recorded.inputs.ancestors[..., : lane.ancestors.shape[2]].copy_(lane.ancestors)
        recorded.replay()
        return recorded.logits

    def _prepared(self, lane: LaneStep, length: int) -> _Recorded:
        """Recording takes steps of its own; what they did to the places is undone."""
        studies, beams, _ = lane.ancestors.shape
        ancestors = lane.ancestors.new_zeros(studies, beams, length)
        inputs = LaneStep(lane.tokens.clone(), lane.positions.clone(), ancestors, lane.constants, lane.state)
        held = lane.state[1]
        before = held.clone()
        used = min(length * beams, held.shape[2])
        logits = torch.empty_like(self._decoder.step([inputs], used)[0])

        def work() -> None:
            logits.copy_(self._decoder.step([inputs], used)[0])

        replay = self._record(work)
        held.copy_(before)
        return _Recorded(inputs, logits, replay)


def record_cuda_graph(work: Callable[[], None]) -> Callable[[], None]:
    """Runs the work on a side stream first, as recording asks for, then records it."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    replay: Callable[[], None] = graph.replay
    return replay
