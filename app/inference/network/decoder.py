"""The decoder as the engine drives it: one step for all lanes, the archive's own way or a faster one.

`ArchiveDecoder` calls the archive's `decode_step` lane by lane: contract and oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LaneStep:
    """One lane's part of a step, as `ReportModel.decode_step` takes it: tokens i64[N,K], positions i64[N], ancestors
    i64[N,K,T], and the slot tables' active prefix."""

    tokens: Tensor
    positions: Tensor
    ancestors: Tensor
    constants: list[Tensor]
    state: list[Tensor]


class Decoder(Protocol):
    """What the engine asks of a decoder."""

    def prepare(self, constants: list[Tensor]) -> list[Tensor]:
        """What is kept of the archive's per-study constants, study first."""
        ...

    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        """State for `studies` × `beams` sequences of up to `length` steps, study first."""
        ...

    def step(self, lanes: Sequence[LaneStep]) -> list[Tensor]:
        """Logits f32[N,K,V] of each lane; states are written in place."""
        ...


class ArchiveDecoder:
    """The archive's own decoder."""

    def __init__(self, module: torch.jit.ScriptModule) -> None:
        self._module = module

    def prepare(self, constants: list[Tensor]) -> list[Tensor]:
        return constants

    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        state: list[Tensor] = self._module.allocate(studies, beams, length)
        return state

    def step(self, lanes: Sequence[LaneStep]) -> list[Tensor]:
        return [
            self._module.decode_step(lane.tokens, lane.positions, lane.ancestors, lane.constants, lane.state)
            for lane in lanes
        ]
