"""The compiled step against its oracle, the archive's own, and against itself in other company."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from app.inference.checkpoint import script
from app.inference.generator import Generator
from app.inference.native.library import Library, library, runnable
from app.inference.network import packed_decoder
from app.inference.network.decoder import ArchiveDecoder, DecoderInput
from app.inference.network.native_decoder import NativeDecoder
from app.inference.network.packed_decoder import PackedDecoder, make_decoder
from app.inference.options import DecodingOptions
from model_training.config import config_from
from model_training.model.build import build_model
from tests.app.inference.network.test_packed_decoder import LENGTH, random_inputs, worst_difference

pytestmark = pytest.mark.skipif(not runnable(), reason="no compiled step is built for this processor")

WORDS = 37
# Width, heads, layers: heads that do not divide the lanes, that fill them, narrow and wide ones, one alone.
SHAPES = [(32, 2, 1), (96, 6, 2), (64, 8, 1), (192, 4, 3), (128, 1, 1), (48, 3, 1), (208, 8, 1)]


def built(name: str) -> Library:
    found = library(name)
    assert found is not None
    return found


TYPES = [(name, torch.float32) for name in runnable()]
TYPES += [(name, torch.bfloat16) for name in runnable() if built(name).bfloat16]
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.2}


def network(width: int, heads: int, layers: int) -> torch.jit.ScriptModule:
    torch.manual_seed(width)
    model = {"encoder": "resnet-tiny", "width": width, "layers": layers, "heads": heads, "max_new_tokens": LENGTH}
    return script(build_model(config_from({"model": model, "data": {"findings": ["any"]}}), WORDS))


def memory_of(module: torch.jit.ScriptModule, studies: int, positions: int, seed: int) -> list[Tensor]:
    """Studies that see some of so many positions, the first at least; the last study none of the second half."""
    generator = torch.Generator().manual_seed(seed)
    memory = torch.randn(studies, positions, int(module.decoder.width), generator=generator)
    seen = torch.rand(studies, positions, generator=generator) < 0.7
    seen[-1, positions // 2 :] = False
    seen[:, 0] = True
    cross_kv: list[Tensor] = module.decoder.constants(memory, seen)
    return cross_kv


@torch.inference_mode()
@pytest.mark.parametrize(("name", "dtype"), TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_batches_stepped_together_get_what_the_archive_gives_each(
    name: str, dtype: torch.dtype, shape: tuple[int, int, int]
) -> None:
    """Widths, numbers of studies, memories and positions of all kinds: the same logits, to the precision asked for
    beside their spread."""
    module = network(*shape)
    archive, native = ArchiveDecoder(module), NativeDecoder(module, dtype, built(name))
    batches = []
    for seed, (beams, studies, positions) in enumerate([(1, 3, 15), (3, 2, 49), (8, 1, 1), (4, 5, 130)]):
        batches.append((memory_of(module, studies, positions, seed), random_inputs(beams, studies, WORDS, seed)))
    worst = worst_difference(archive, native, batches)
    assert worst < TOLERANCES[dtype], worst
    assert dtype == torch.float32 or worst > 0


@torch.inference_mode()
@pytest.mark.parametrize(("name", "dtype"), TYPES)
def test_a_study_gets_the_same_numbers_in_any_company(name: str, dtype: torch.dtype) -> None:
    """Alone, among others and with more threads than one: bit by bit, in bfloat16 too."""
    module = network(192, 4, 3)
    native = NativeDecoder(module, dtype, built(name))
    cross_kv = native.prepare(memory_of(module, 9, 49, 0))
    steps = random_inputs(4, 9, WORDS, 0)
    threads = torch.get_num_threads()

    def logits_of(studies: slice, threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        kv_cache = native.allocate(9, 4, LENGTH)
        own, cache = [table[studies] for table in cross_kv], [table[studies] for table in kv_cache]
        inputs = [DecoderInput(*cut, own, cache) for cut in ((t[studies], p[studies], a[studies]) for t, p, a in steps)]
        return [native.step([one])[0] for one in inputs]

    try:
        together = logits_of(slice(0, 9), 1)
        for several in (2, 3):
            for one, other in zip(logits_of(slice(0, 9), several), together, strict=True):
                assert torch.equal(one, other)
        for first, last in ((0, 1), (3, 5), (8, 9)):
            for one, other in zip(logits_of(slice(first, last), 1), together, strict=True):
                assert torch.equal(one, other[first:last])
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
@pytest.mark.parametrize("name", runnable())
def test_what_is_no_number_stays_with_its_study(name: str) -> None:
    """A study whose memory holds none gets none; the others get what they get without it."""
    module = network(96, 6, 2)
    native = NativeDecoder(module, torch.float32, built(name))
    cross_kv = native.prepare(memory_of(module, 3, 20, 0))
    cross_kv[0][1] = float("nan")
    (tokens, positions, ancestors), *_ = random_inputs(2, 3, WORDS, 0)
    (found,) = native.step([DecoderInput(tokens, positions, ancestors, cross_kv, native.allocate(3, 2, LENGTH))])
    spoken = [word for word in range(WORDS) if word not in module.forbidden.tolist()]
    assert found[..., spoken].isnan().flatten(1).any(1).tolist() == [False, True, False]


def test_what_a_library_has_not_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that fill no vectors, and machines for which nothing was built: the packed decoder steps them."""
    found = library()
    assert found
    assert isinstance(make_decoder(network(96, 6, 1), "exact"), NativeDecoder)
    odd = network(40, 2, 1)
    assert isinstance(make_decoder(odd, "exact"), PackedDecoder)
    with pytest.raises(ValueError, match="not built for"):
        NativeDecoder(odd, torch.float32, found)
    monkeypatch.setattr(packed_decoder, "library", lambda: None)
    assert isinstance(make_decoder(network(96, 6, 1), "exact"), PackedDecoder)


def test_reports_are_those_written_without_it(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of one and several views with beams of all widths in flight together: the same texts, word by word."""
    rng = np.random.default_rng(0)
    studies = [
        ([rng.integers(0, 256, (64, 80), dtype=np.uint8)] * views, DecodingOptions(beams, beams, max_new_tokens=40))
        for views, beams in product((1, 3), (1, 2, 4, 8))
    ]

    def written() -> list[list[str]]:
        generator = Generator.load(tiny_checkpoint, device="cpu", precision="exact")
        try:
            futures = [generator._submit(images, options) for images, options in studies]
            return [[one.text for one in future.result(60).hypotheses] for future in futures]
        finally:
            generator.close()

    found = written()
    for module in ("network.packed_decoder", "search.beam_search"):
        monkeypatch.setattr(f"app.inference.{module}.library", lambda: None)
    assert found == written()
