"""Decoding alone: reports a second from ready memories, every contestant with random weights of the same shape.

Shapes: that of the shipped model, and 6 layers of width 512. Four beams, 60 tokens forced, 49 memory positions.
Hugging Face `generate` runs a BART decoder and CTranslate2 a Whisper decoder of the same layers, width, heads and
vocabulary: the arithmetic is the same and the tokens are not. Token identity is held by
`tests/app/inference/search/test_beam_search.py`.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BartForConditionalGeneration, WhisperConfig, WhisperForConditionalGeneration
from transformers.utils import logging

from app.inference.checkpoint import script
from app.inference.engine.step_graphs import StepGraphs
from app.inference.network.cuda_graphs import CudaRecorder
from app.inference.network.decoder import ArchiveDecoder, Decoder
from app.inference.network.devices import choose_device, configure_backend, fast_bfloat16
from app.inference.network.packed_decoder import PackedDecoder, PackedLinear, make_decoder
from app.inference.options import DecodingOptions
from app.inference.search.beam_batch import BeamBatch, search
from app.text.tokenizer import BOS, EOS, PAD
from benchmarks.peers.huggingface import bart, generate
from benchmarks.results import Row, rates, ratio
from model_training.config import config_from
from model_training.model.build import build_model

if TYPE_CHECKING:
    from ctranslate2.models import Whisper

TOKENS, BEAMS, POSITIONS = 60, 4, 49
SHAPES = {
    "shipped shape": {"width": 192, "layers": 3, "heads": 4, "vocabulary": 586},
    "L=6 d=512": {"width": 512, "layers": 6, "heads": 8, "vocabulary": 1000},
}
HF, CT2_F32, CT2_INT8 = "HF generate float32", "CTranslate2 float32", "CTranslate2 int8"
HF_BF16 = "HF generate bfloat16"
EXACT, FAST, BOUND = "ours exact", "ours fast", "bound: bfloat16 products alone"
PLAINLY = ", kernel by kernel"  # on a GPU: without CUDA graphs
# Ours over the best of the peers so named, beyond batch 1.
GOALS = {
    (EXACT, HF): 1.5,
    (FAST, HF): 4.0,
    (FAST, HF_BF16): None,
    (FAST, CT2_INT8): 1.3,
    (FAST, CT2_F32): 2.5,
    (FAST, BOUND): None,
    (EXACT, EXACT + PLAINLY): None,
    (FAST, FAST + PLAINLY): None,
}

Contestant = Callable[[int], None]


def contestants(shape: dict[str, int], device: torch.device) -> dict[str, Callable[[], Contestant]]:
    """Name to what builds a function that generates a batch of reports."""
    torch.manual_seed(0)
    model = {"encoder": "resnet-tiny", "max_new_tokens": TOKENS} | {k: shape[k] for k in ("width", "layers", "heads")}
    config = config_from({"model": model, "data": {"findings": ["any"]}})

    gpu = device.type == "cuda"

    def ours(decoder_of: Callable[[torch.jit.ScriptModule], Decoder], graphs: bool = gpu) -> Contestant:
        module = script(build_model(config, shape["vocabulary"])).to(device)
        return Search(module, decoder_of(module), graphs)

    def exact(module: torch.jit.ScriptModule) -> Decoder:
        return make_decoder(module, "exact")

    def fast(module: torch.jit.ScriptModule) -> Decoder:
        return make_decoder(module, "fast")

    found: dict[str, Callable[[], Contestant]] = {
        HF: lambda: hugging_face(shape, device),
        "ours, archive stepped plainly": lambda: ours(ArchiveDecoder, graphs=False),
        EXACT: lambda: ours(exact),
    }
    if gpu:
        found[HF_BF16] = lambda: hugging_face(shape, device, torch.bfloat16)
        found[EXACT + PLAINLY] = lambda: ours(exact, graphs=False)
    if fast_bfloat16(device):
        found[FAST] = lambda: ours(fast)
        if gpu:
            found[FAST + PLAINLY] = lambda: ours(fast, graphs=False)
        found[BOUND] = lambda: partial(multiply, bare_products(shape, device), shape["width"])
    if device.type == "cpu" and importlib.util.find_spec("ctranslate2"):
        # With one thread and with all: where a step is short, its threads cost it more than they bring.
        for threads in sorted({1, torch.get_num_threads()}):
            found[f"{CT2_F32}, {threads} thread(s)"] = partial(ctranslate2, shape, "float32", threads)
            found[f"{CT2_INT8}, {threads} thread(s)"] = partial(ctranslate2, shape, "int8", threads)
    return found


def ctranslate2(shape: dict[str, int], compute_type: str, threads: int) -> Contestant:
    """CTranslate2's Whisper with ready features, which skips its encoder."""
    from ctranslate2.converters.transformers import WhisperLoader
    from ctranslate2.models import Whisper

    config = WhisperConfig(
        vocab_size=shape["vocabulary"],
        d_model=shape["width"],
        encoder_layers=1,
        encoder_attention_heads=shape["heads"],
        encoder_ffn_dim=shape["width"],
        decoder_layers=shape["layers"],
        decoder_attention_heads=shape["heads"],
        decoder_ffn_dim=4 * shape["width"],
        num_mel_bins=8,
        max_source_positions=POSITIONS,
        max_target_positions=2 * TOKENS + 8,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        decoder_start_token_id=BOS,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    spec = WhisperLoader().get_model_spec(WhisperForConditionalGeneration(config))
    special = ["<|pad|>", "<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>", "<|transcribe|>", "<|en|>"]
    spec.register_vocabulary([*special, *(f"w{i}" for i in range(shape["vocabulary"] - len(special)))])
    spec.config.suppress_ids = spec.config.suppress_ids_begin = []
    spec.config.alignment_heads, spec.config.lang_ids = [(0, 0)], [5]
    spec.validate()
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        model = Whisper(folder, device="cpu", compute_type=compute_type, intra_threads=threads)
    return partial(translate, model, shape["width"])


def translate(model: Whisper, width: int, batch: int) -> None:
    """`batch` reports by CTranslate2, the end token suppressed, so that it writes its half of `max_length`."""
    from ctranslate2 import StorageView

    features = StorageView.from_array(np.random.randn(batch, POSITIONS, width).astype(np.float32))
    prompts = [[BOS, 3]] * batch  # start, no timestamps
    found = model.generate(
        features, prompts, beam_size=BEAMS, max_length=2 * TOKENS, suppress_tokens=[EOS], suppress_blank=False
    )
    if any(len(one.sequences_ids[0]) != TOKENS for one in found):
        raise RuntimeError(f"CTranslate2 wrote {len(found[0].sequences_ids[0])} tokens, not {TOKENS}")


def hugging_face(shape: dict[str, int], device: torch.device, dtype: torch.dtype = torch.float32) -> Contestant:
    """A BART whose decoder has the shape."""
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers leaves it unannotated
    model = bart(**shape, inner=4 * shape["width"], positions=TOKENS + 4)
    nn.Module.to(model, device, dtype)  # transformers' own is annotated wrongly
    return partial(write, model, shape["width"])


def write(model: BartForConditionalGeneration, width: int, batch: int) -> None:
    """`batch` reports by Hugging Face."""
    memory = torch.randn(batch, POSITIONS, width, device=model.device, dtype=model.dtype)
    generate(model, memory, num_beams=BEAMS, max_new_tokens=TOKENS, min_new_tokens=TOKENS)


class Search:
    """Our beam search over a decoder, with batches that stay where they are, as the engine's do."""

    def __init__(self, module: torch.jit.ScriptModule, decoder: Decoder, graphs: bool) -> None:
        self.module, self.decoder = module, decoder
        self.graphs: StepGraphs | None = None
        if graphs and isinstance(decoder, PackedDecoder):
            self.graphs = StepGraphs(decoder, CudaRecorder(module.forbidden.device))
        self.batches: dict[int, tuple[list[Tensor], BeamBatch[int]]] = {}

    def __call__(self, batch: int) -> None:
        """`batch` reports."""
        if batch not in self.batches:
            cross_kv = self.decoder.prepare(_cross_kv(self.module, batch))
            own = BeamBatch[int](self.decoder, BEAMS, batch, TOKENS, [table[0] for table in cross_kv])
            self.batches[batch] = cross_kv, own
        cross_kv, own = self.batches[batch]
        options = DecodingOptions(num_beams=BEAMS, max_new_tokens=TOKENS, min_new_tokens=TOKENS)
        search(self.decoder, cross_kv, [options] * batch, batch=own, step=self.graphs)


def bare_products(shape: dict[str, int], device: torch.device) -> list[PackedLinear]:
    """The matrix products of one step, with weights of their own for every layer."""
    d = shape["width"]
    layer = [(d, 3 * d), (d, d), (d, d), (d, d), (d, 4 * d), (4 * d, d)]
    sizes = [*(shape["layers"] * layer), (d, shape["vocabulary"])]
    return [PackedLinear(torch.rand(n, m, device=device), None, torch.bfloat16) for m, n in sizes]


def multiply(products: list[PackedLinear], width: int, batch: int) -> None:
    """What `batch` reports cost when nothing but the products is done: the roofline of decoding."""
    rows = torch.rand(batch * BEAMS, 4 * width).bfloat16().to(choose_device("auto"))
    inputs = {width: rows[:, :width].contiguous(), 4 * width: rows}
    for _ in range(TOKENS):
        for i, product in enumerate(products):
            product(inputs[4 * width if i % 6 == 5 and i < len(products) - 1 else width])


def _cross_kv(module: torch.jit.ScriptModule, batch: int) -> list[Tensor]:
    weight = module.memory_norm.weight
    memory = torch.randn(batch, POSITIONS, weight.shape[0], device=weight.device)
    mask = torch.ones(batch, POSITIONS, dtype=torch.bool, device=weight.device)
    cross_kv: list[Tensor] = module.decoder.constants(memory, mask)
    return cross_kv


def serve(connection: Connection, label: str, name: str) -> None:
    """One contestant in a process of its own: seconds for each batch size it is told, or what it failed of. Runtimes of
    threads that share a process slow each other down, CTranslate2's all others by a third."""
    device = choose_device("auto")
    configure_backend(device)
    runner: Contestant | None = None
    while batch := connection.recv():
        try:
            runner = runner or contestants(SHAPES[label], device)[name]()
            started = time.perf_counter()
            with torch.inference_mode():
                runner(batch)
            if device.type == "cuda":
                torch.cuda.synchronize()
            connection.send(time.perf_counter() - started)
        except Exception as error:
            connection.send(f"{type(error).__name__}: {error}")


def run(rounds: int, short: bool) -> list[Row]:
    """Contestants take turns, `rounds` times; a ratio is the median of the ratios of single rounds."""
    rows = []
    for label in SHAPES:
        with processes(label) as connections:
            for batch in (8,) if short else (1, 8, 16):
                rows += turns(f"{label}, batch {batch}", connections, batch, rounds)
    return rows


@contextmanager
def processes(label: str) -> Iterator[dict[str, Connection]]:
    """A contestant a process."""
    spawn = multiprocessing.get_context("spawn")
    connections = {}
    for name in contestants(SHAPES[label], choose_device("auto")):
        connections[name], theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(theirs, label, name), daemon=True).start()
        theirs.close()  # so that the end of the process is seen
    yield connections
    for connection in connections.values():
        connection.send(0)


def turns(title: str, connections: Mapping[str, Connection], batch: int, rounds: int) -> list[Row]:
    """Rows of one batch size; who fails stands there with what it failed of."""
    measured: dict[str, list[float]] = {name: [] for name in connections}
    failed: dict[str, str] = {}
    for turn in range(rounds + 1):
        for name in [name for name in connections if name not in failed]:
            connections[name].send(batch)
            try:
                seconds = connections[name].recv()
            except EOFError:
                seconds = "its process died"
            if isinstance(seconds, str):
                failed[name] = seconds
            elif turn:  # the first warms up
                measured[name].append(batch / seconds)
    rows = [
        Row(f"{title}: {name}", None, "reports/s", note=f"not measured, failed: {error}")
        for name, error in failed.items()
    ]
    return rows + _rows(title, batch, {name: values for name, values in measured.items() if name not in failed})


def _rows(label: str, batch: int, measured: dict[str, list[float]]) -> list[Row]:
    rows = [rates(f"{label}: {name}", "reports/s", values) for name, values in measured.items()]
    for (ours, peer), goal in GOALS.items():
        peers = [name for name in measured if name.startswith(peer)]
        if ours in measured and peers:
            best = max(peers, key=lambda name: statistics.median(measured[name]))
            name = f"{label}: {ours} / {best}"
            rows.append(ratio(name, measured[ours], measured[best], best, goal if batch > 1 else None))
    return rows
