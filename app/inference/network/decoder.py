"""The decoder as the engine drives it: one step for the beam batches of all widths.

`ArchiveDecoder` calls the archive's `decode_step` batch by batch: contract and oracle of any faster way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class DecoderInput:
    """One beam batch's part of a step, as `ReportModel.decode_step` takes it: tokens i64[N,K], positions i64[N],
    ancestors i64[N,K,T], and of the tables by slot the active prefix: what is known of the images, what was written."""

    tokens: Tensor
    positions: Tensor
    ancestors: Tensor
    cross_kv: list[Tensor]
    kv_cache: list[Tensor]


class Decoder(Protocol):
    """What the engine asks of a decoder."""

    def prepare(self, cross_kv: list[Tensor]) -> list[Tensor]:
        """What is kept of what the archive gives for each study (its "constants"), study first."""
        ...

    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        """The cache (the archive's "state") of `studies` × `beams` sequences of up to `length` steps, study first."""
        ...

    def step(self, batches: Sequence[DecoderInput]) -> list[Tensor]:
        """Logits f32[N,K,V] of each batch; caches are written in place."""
        ...


class ArchiveDecoder:
    """The archive's own decoder."""

    def __init__(self, module: nn.Module) -> None:
        """`module` is the archive, or the network that it is scripted from."""
        self._module: Any = module

    def prepare(self, cross_kv: list[Tensor]) -> list[Tensor]:
        return cross_kv

    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        kv_cache: list[Tensor] = self._module.allocate(studies, beams, length)
        return kv_cache

    def step(self, batches: Sequence[DecoderInput]) -> list[Tensor]:
        return [
            self._module.decode_step(batch.tokens, batch.positions, batch.ancestors, batch.cross_kv, batch.kv_cache)
            for batch in batches
        ]
