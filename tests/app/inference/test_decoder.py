"""The packed decoder against its oracle, the archive's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from app.inference.checkpoint import load_checkpoint
from app.inference.cuda_graphs import GraphedDecoder
from app.inference.decoder import ArchiveDecoder, LaneStep, PackedDecoder

LENGTH = 12


def lane_inputs(beams: int, studies: int, vocabulary: int, seed: int) -> list[tuple[torch.Tensor, ...]]:
    """Ragged positions, beams that take up each other's histories: tokens, positions, ancestors for every step."""
    generator = torch.Generator().manual_seed(seed)
    ancestors = torch.zeros(studies, beams, LENGTH, dtype=torch.long)
    starts = torch.randint(0, 3, (studies,), generator=generator)
    steps = []
    for t in range(LENGTH - 2):
        positions = (t - starts).clamp(min=0)
        if t:
            parents = torch.randint(0, beams, (studies, beams, 1), generator=generator).expand(-1, -1, LENGTH)
            ancestors = ancestors.gather(1, parents)
        own = torch.arange(beams)[None, :, None].expand(studies, -1, 1)
        ancestors = ancestors.scatter(2, positions[:, None, None].expand(-1, beams, 1), own)
        tokens = torch.randint(6, vocabulary, (studies, beams), generator=generator)
        steps.append((tokens, positions, ancestors[..., : int(positions.max()) + 1].clone()))
    return steps


@torch.inference_mode()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.3)])
def test_lanes_stepped_together_get_what_the_archive_gives_each(
    tiny_checkpoint: Path, dtype: torch.dtype, tolerance: float
) -> None:
    """Three lanes of different widths, views and positions: the same logits, to the precision asked for."""
    checkpoint = load_checkpoint(tiny_checkpoint)
    module = checkpoint.module
    archive, packed = ArchiveDecoder(module), PackedDecoder(module, dtype)
    size = checkpoint.manifest["image_size"]
    shapes = [(1, 3), (3, 2), (8, 1)]
    lanes = []
    for seed, (beams, studies) in enumerate(shapes):
        mask = torch.arange(4) < torch.arange(1, studies + 1)[:, None]
        views = torch.rand(studies * 4, 1, size, size, generator=torch.Generator().manual_seed(seed))
        parts = [part.unflatten(0, (studies, 4)) for part in module.encode(views)[:3]]
        constants = module.begin(*parts, mask)[1]
        steps = lane_inputs(beams, studies, len(checkpoint.tokenizer), seed)
        states = archive.allocate(studies, beams, LENGTH), packed.allocate(studies, beams, LENGTH)
        lanes.append((constants, packed.prepare(constants), states, steps))
    worst = 0.0
    for t in range(LENGTH - 2):
        expected = archive.step([LaneStep(*steps[t], constants, s[0]) for constants, _, s, steps in lanes])
        found = packed.step([LaneStep(*steps[t], prepared, s[1]) for _, prepared, s, steps in lanes])
        for one, other in zip(expected, found, strict=True):
            assert torch.equal(one.isneginf(), other.isneginf())
            spoken = one.isfinite()
            worst = max(worst, float((one - other)[spoken].abs().max()))
    assert worst < tolerance
    assert dtype == torch.float32 or worst > 0


@torch.inference_mode()
def test_recorded_steps_give_what_plain_ones_give(tiny_checkpoint: Path) -> None:
    """Fixed inputs, lengths in blocks and places undone after recording: the logits stay the same.

    The recorder here takes the steps again as a GPU would; recording itself needs one.
    """
    checkpoint = load_checkpoint(tiny_checkpoint)
    plain = PackedDecoder(checkpoint.module, torch.float32)
    recordings = 0

    def record(work: Callable[[], None]) -> Callable[[], None]:
        nonlocal recordings
        recordings += 1
        work()
        return work

    recorded = GraphedDecoder(plain, record)
    size = checkpoint.manifest["image_size"]
    views = torch.rand(8, 1, size, size, generator=torch.Generator().manual_seed(0))
    parts = [part.unflatten(0, (2, 4)) for part in checkpoint.module.encode(views)[:3]]
    constants = plain.prepare(checkpoint.module.begin(*parts, torch.ones(2, 4, dtype=torch.bool))[1])
    states = plain.allocate(2, 3, LENGTH), recorded.allocate(2, 3, LENGTH)
    for step in lane_inputs(3, 2, len(checkpoint.tokenizer), 0):
        (expected,), (found,) = (
            decoder.step([LaneStep(*step, constants, state)])
            for decoder, state in zip((plain, recorded), states, strict=True)
        )
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert recordings == 1
