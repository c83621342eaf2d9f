"""The search over a decoder: all studies of one width to their ends."""

from __future__ import annotations

from pathlib import Path

import torch

from app.inference.checkpoint import load_checkpoint
from app.inference.network.decoder import ArchiveDecoder
from app.inference.options import DecodingOptions
from app.inference.search.beam_batch import BeamBatch, search
from tests.encoded import cross_kv_of


@torch.inference_mode()
def test_studies_searched_together_get_what_each_gets_alone(tiny_checkpoint: Path) -> None:
    """Each at its own length and penalties, in their order, in a new batch or in one that was used before."""
    checkpoint = load_checkpoint(tiny_checkpoint)
    module, decoder = checkpoint.module, ArchiveDecoder(checkpoint.module)
    images = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    cross_kv = cross_kv_of(module, images, torch.ones(3, 1, dtype=torch.bool))
    common = DecodingOptions(num_beams=3, num_return_sequences=2)
    options = [
        common.with_changes(max_new_tokens=tokens, length_penalty=exponent, repetition_penalty=penalty)
        for tokens, exponent, penalty in ((40, 0.0, 1.3), (7, 1.0, 1.0), (26, 2.0, 0.8))
    ]
    alone = [search(decoder, [table[i : i + 1] for table in cross_kv], [options[i]])[0] for i in range(3)]
    assert [[len(study) for study in alone]] == [[2, 2, 2]]
    assert len({study[0].ids for study in alone}) == 3
    batch = BeamBatch[int](decoder, 3, 3, 40, [table[0] for table in cross_kv])
    for together in (
        search(decoder, cross_kv, options),
        *(search(decoder, cross_kv, options, batch=batch) for _ in "ab"),
    ):
        assert [[one.ids for one in study] for study in together] == [[one.ids for one in study] for study in alone]
