"""The packed decoder against its oracle, the archive's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses import FakeTensorMode

from app.inference.checkpoint import load_checkpoint
from app.inference.engine.step_graphs import StepGraphs
from app.inference.network.decoder import ArchiveDecoder, Decoder, DecoderInput
from app.inference.network.packed_decoder import PackedDecoder, PackedLinear
from app.inference.options import DecodingOptions
from app.inference.search.beam_batch import BeamBatch, search
from tests.encoded import cross_kv_of

LENGTH = 12
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def random_inputs(beams: int, studies: int, vocabulary: int, seed: int) -> list[Inputs]:
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


def worst_difference(archive: Decoder, other: Decoder, batches: list[tuple[list[torch.Tensor], list[Inputs]]]) -> float:
    """Of the logits of both, for batches of cross_kv and `random_inputs` stepped together, in standard deviations;
    what one forbids the other does, too."""
    given = []
    for cross_kv, steps in batches:
        studies, beams = steps[0][0].shape
        caches = archive.allocate(studies, beams, LENGTH), other.allocate(studies, beams, LENGTH)
        given.append((cross_kv, other.prepare(cross_kv), caches, steps))
    worst = 0.0
    for t in range(LENGTH - 2):
        expected = archive.step([DecoderInput(*steps[t], cross_kv, c[0]) for cross_kv, _, c, steps in given])
        found = other.step([DecoderInput(*steps[t], prepared, c[1]) for _, prepared, c, steps in given])
        for wanted, logits in zip(expected, found, strict=True):
            assert torch.equal(wanted.isneginf(), logits.isneginf())
            spoken = wanted.isfinite()
            worst = max(worst, float((wanted - logits)[spoken].abs().max() / wanted[spoken].std()))
    return worst


@torch.inference_mode()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.2)])
def test_batches_stepped_together_get_what_the_archive_gives_each(
    tiny_checkpoint: Path, dtype: torch.dtype, tolerance: float
) -> None:
    """Three batches of different widths, views and positions: the same logits, to the precision asked for beside their
    spread."""
    checkpoint = load_checkpoint(tiny_checkpoint)
    module = checkpoint.module
    archive, packed = ArchiveDecoder(module), PackedDecoder(module, dtype)
    size = checkpoint.manifest.image_size
    shapes = [(1, 3), (3, 2), (8, 1)]
    batches = []
    for seed, (beams, studies) in enumerate(shapes):
        mask = torch.arange(4) < torch.arange(1, studies + 1)[:, None]
        views = torch.rand(int(mask.sum()), 1, size, size, generator=torch.Generator().manual_seed(seed))
        cross_kv = cross_kv_of(module, views, mask, seed)
        batches.append((cross_kv, random_inputs(beams, studies, len(checkpoint.tokenizer), seed)))
    worst = worst_difference(archive, packed, batches)
    assert worst < tolerance, worst
    assert dtype == torch.float32 or worst > 0


@torch.inference_mode()
def test_recorded_steps_write_what_plain_ones_write(tiny_checkpoint: Path) -> None:
    """Slots stepped in vain, lengths in blocks, several steps at a time, what recording did undone: the same sequences.

    The recorder here takes the steps again as a GPU would; recording itself needs one.
    """
    checkpoint = load_checkpoint(tiny_checkpoint)
    decoder = PackedDecoder(checkpoint.module, torch.float32)
    recordings = 0

    def record(work: Callable[[], None]) -> Callable[[], None]:
        nonlocal recordings
        recordings += 1
        work()
        return work

    graphs = StepGraphs(decoder, record)
    size = checkpoint.manifest.image_size
    views = torch.rand(12, 1, size, size, generator=torch.Generator().manual_seed(0))
    cross_kv = decoder.prepare(cross_kv_of(checkpoint.module, views, torch.ones(3, 4, dtype=torch.bool)))
    common = DecodingOptions(num_beams=3, num_return_sequences=3)
    options = [
        common.with_changes(max_new_tokens=tokens, length_penalty=exponent, repetition_penalty=penalty)
        for tokens, exponent, penalty in ((40, 0.0, 1.3), (33, 1.0, 1.0), (26, 2.0, 0.8))
    ]
    found = []
    for step in (None, graphs):
        batch = BeamBatch[int](decoder, 3, 5, 40, [table[0] for table in cross_kv])
        found.append(search(decoder, cross_kv, options, batch=batch, step=step))
    assert [[s.ids for s in study] for study in found[0]] == [[s.ids for s in study] for study in found[1]]
    assert len({len(study[0].ids) for study in found[0]}) > 1
    assert 1 < recordings <= 6


@torch.inference_mode()
def test_a_step_that_fails_on_its_way_can_be_taken_again(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine takes a failed step again, batch by batch: nothing of the first try is left in the cache."""
    checkpoint = load_checkpoint(tiny_checkpoint)
    decoder = PackedDecoder(checkpoint.module, torch.float32)
    size = checkpoint.manifest.image_size
    views = torch.rand(4, 1, size, size)
    cross_kv = decoder.prepare(cross_kv_of(checkpoint.module, views, torch.ones(1, 4, dtype=torch.bool)))
    caches = [decoder.allocate(1, 3, LENGTH) for _ in "ab"]
    for step in random_inputs(3, 1, len(checkpoint.tokenizer), 0):
        (expected,) = decoder.step([DecoderInput(*step, cross_kv, caches[0])])
        with monkeypatch.context() as patch:
            patch.setattr(PackedLinear, "add", lambda *_: torch.ones(2) @ torch.ones(3))
            with pytest.raises(RuntimeError):
                decoder.step([DecoderInput(*step, cross_kv, caches[1])])
        (found,) = decoder.step([DecoderInput(*step, cross_kv, caches[1])])
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_recorded_asks_nothing_of_a_gpu(tiny_checkpoint: Path, dtype: torch.dtype, beams: int) -> None:
    """Tensors without data on a GPU that is not there: a question about values, or a second device, would raise."""
    real = load_checkpoint(tiny_checkpoint).module
    with FakeTensorMode():
        weights = {name: torch.empty(p.shape, device="cuda") for name, p in real.decoder.named_parameters()}
        transformer = SimpleNamespace(named_parameters=weights.items, layers=real.decoder.layers)
        module = SimpleNamespace(decoder=transformer, forbidden=torch.empty(3, dtype=torch.long, device="cuda"))
        decoder = PackedDecoder(module, dtype)  # type: ignore[arg-type]  # stands in for a module
        layers, width = len(list(real.decoder.layers.children())), weights["embedding.weight"].shape[1]
        keys_values = torch.empty(3, layers, 2, 17, width, device="cuda")
        cross_kv = decoder.prepare([keys_values, torch.empty(3, 17, dtype=torch.bool, device="cuda")])
        batch = BeamBatch[int](decoder, beams, 8, 40, [table[0] for table in cross_kv])
        graphs = StepGraphs(decoder, lambda work: (work(), work)[1])  # type: ignore[func-returns-value]  # for its effect
        options = DecodingOptions(num_beams=beams, min_new_tokens=3, max_new_tokens=40)
        batch.admit(range(3), [options] * 3, cross_kv)
        graphs(batch)
        batch.release([0])
        graphs(batch)
