"""Decoding alone: reports a second from ready memories, every contestant with random weights of the same shape.

Shapes: that of the shipped model, and 6 layers of width 512. Four beams, 60 tokens forced, 49 memory positions.
Hugging Face `generate` runs a BART decoder of the same layers, width, heads and vocabulary; so the arithmetic is the
same and the tokens are not. Token identity is held by `tests/app/inference/test_beam_search.py`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from transformers import BartConfig, BartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging

from app.inference.beam_search import BeamLane
from app.inference.checkpoint import script
from app.inference.decoder import ArchiveDecoder, Decoder, LaneStep, PackedDecoder
from app.inference.generator import fast_bfloat16
from app.inference.options import DecodingOptions
from app.inference.tokenizer import BOS, EOS, PAD
from benchmarks.results import Row
from model_training.config import config_from
from model_training.model.build import build_model

TOKENS, BEAMS, POSITIONS = 60, 4, 49
BATCHES = (1, 8, 16)
SHAPES = {
    "shipped shape": {"width": 192, "layers": 3, "heads": 4, "vocabulary": 450},
    "L=6 d=512": {"width": 512, "layers": 6, "heads": 8, "vocabulary": 1000},
}
GOALS = {"ours exact": 1.5, "ours fast": 4.0}
HF = "HF generate float32"

Contestant = Callable[[int], None]


def contestants(shape: dict[str, int]) -> dict[str, Contestant]:
    """Name to a function that generates a batch of reports."""
    torch.manual_seed(0)
    model = {"encoder": "resnet-tiny", "max_new_tokens": TOKENS} | {k: shape[k] for k in ("width", "layers", "heads")}
    config = config_from({"model": model, "data": {"findings": ["any"]}})
    module = script(build_model(config, shape["vocabulary"]))
    found: dict[str, Contestant] = {
        HF: partial(generate, hugging_face(shape), shape["width"]),
        "ours, archive stepped plainly": partial(search, module, ArchiveDecoder(module)),
        "ours exact": partial(search, module, PackedDecoder(module, torch.float32)),
    }
    if fast_bfloat16(torch.device("cpu")):
        found["ours fast"] = partial(search, module, PackedDecoder(module, torch.bfloat16))
    return found


def hugging_face(shape: dict[str, int]) -> BartForConditionalGeneration:
    """A BART whose decoder has the shape."""
    logging.set_verbosity_error()
    config = BartConfig(
        vocab_size=shape["vocabulary"],
        d_model=shape["width"],
        encoder_layers=1,
        decoder_layers=shape["layers"],
        decoder_attention_heads=shape["heads"],
        encoder_attention_heads=shape["heads"],
        decoder_ffn_dim=4 * shape["width"],
        max_position_embeddings=TOKENS + 4,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        decoder_start_token_id=BOS,
        forced_eos_token_id=None,
    )
    return BartForConditionalGeneration(config).eval()


def generate(model: BartForConditionalGeneration, width: int, batch: int) -> None:
    """`batch` reports by Hugging Face."""
    memory = BaseModelOutput(last_hidden_state=torch.randn(batch, POSITIONS, width))
    model.generate(
        encoder_outputs=memory, num_beams=BEAMS, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False
    )


def search(module: torch.jit.ScriptModule, decoder: Decoder, batch: int) -> None:
    """`batch` reports by our beam search over a decoder."""
    constants = decoder.prepare(_constants(module, batch))
    lane = BeamLane(BEAMS, batch, TOKENS, torch.device("cpu"))
    options = DecodingOptions(num_beams=BEAMS, max_new_tokens=TOKENS, min_new_tokens=TOKENS)
    for _ in range(batch):
        lane.admit(options)
    state = decoder.allocate(batch, BEAMS, TOKENS)
    while lane.size:
        (logits,) = decoder.step([LaneStep(*lane.inputs(), constants, state)])
        for slot in lane.advance(logits):
            lane.remove(slot)


def _constants(module: torch.jit.ScriptModule, batch: int) -> list[Tensor]:
    memory = torch.randn(batch, POSITIONS, module.memory_norm.weight.shape[0])
    constants: list[Tensor] = module.decoder.constants(memory, torch.ones(batch, POSITIONS, dtype=torch.bool))
    return constants


def run(rounds: int) -> list[Row]:
    """Contestants take turns, `rounds` times; a ratio is the median of the ratios of single rounds."""
    rows = []
    for label, shape in SHAPES.items():
        runners = contestants(shape)
        for batch in BATCHES:
            rates: dict[str, list[float]] = {name: [] for name in runners}
            for turn in range(rounds + 1):
                for name, runner in runners.items():
                    started = time.perf_counter()
                    with torch.inference_mode():
                        runner(batch)
                    if turn:  # the first warms up
                        rates[name].append(batch / (time.perf_counter() - started))
            rows += _rows(f"{label}, batch {batch}", batch, rates)
    return rows


def _rows(label: str, batch: int, rates: dict[str, list[float]]) -> list[Row]:
    rows = []
    for name, values in rates.items():
        spread = (min(values), max(values))
        rows.append(Row(f"{label}: {name}", statistics.median(values), "reports/s", spread=spread))
        if name != HF:
            ratios = [ours / theirs for ours, theirs in zip(values, rates[HF], strict=True)]
            goal = GOALS.get(name) if batch > 1 else None
            spread = (min(ratios), max(ratios))
            rows.append(Row(f"{label}: {name} / HF", statistics.median(ratios), "times", HF, spread, goal))
    return rows
