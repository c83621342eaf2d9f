"""Studies as a decoder is given them, for tests that begin behind the encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from app.inference.encoder_output import EncoderOutput
from app.text.facts import ASSERTIONS, SIDES, ZONES


def facts_at_random(studies: int, count: int, seed: int = 0) -> Tensor:
    """Facts i64[N,F+1,3] of so many studies."""
    generator = torch.Generator().manual_seed(seed)
    ends = (len(ASSERTIONS), len(SIDES), len(ZONES))
    return torch.stack([torch.randint(0, end, (studies, count), generator=generator) for end in ends], -1)


@torch.inference_mode()
def cross_kv_of(network: nn.Module, images: Tensor, mask: Tensor, seed: int = 0) -> list[Tensor]:
    """What the network's decoder keeps of studies with images f32[B,1,S,S] where `mask` bool[N,V] is True, told facts
    at random."""
    module: Any = network
    encoded = EncoderOutput(*module.encode(images))

    def spread(part: Tensor) -> Tensor:
        room = part.new_zeros(mask.shape + part.shape[1:])
        room[mask] = part
        return room

    facts = facts_at_random(len(mask), encoded.finding_logits.shape[1], seed)
    cross_kv: list[Tensor] = module.begin(spread(encoded.memory), spread(encoded.view_logits), mask, facts)
    return cross_kv
