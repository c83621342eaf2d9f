"""`python -m benchmarks.gpu --out FOLDER`: what a GPU makes of it, meant for two minutes.

One report end to end and reports a second of a checkpoint of the shipped shape, then encoding and decoding beside their
peers, ours with CUDA graphs and kernel by kernel. Every contestant has a process of its own: one that fails stands in
the table with what it failed of, and the others go on. Results are written after each part.

The checkpoint is made here, with random weights: torch may not be able to load what a later version has saved.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from app.inference.generator import Generator
from app.inference.options import DecodingOptions
from app.text.tokenizer import Tokenizer
from benchmarks import decode, encoder
from benchmarks.results import Row, print_table, rates, write
from model_training.config import load_config
from model_training.export import export_model
from model_training.model.build import build_model

IMAGE = Path(__file__).with_name("phantom-frontal.png")
SHAPE, SPECIAL = "shipped shape", 6  # tokens that are no words
OPTIONS = DecodingOptions(min_new_tokens=decode.TOKENS, max_new_tokens=decode.TOKENS, repetition_penalty=1.3)
BATCHES = (1, 8, 16, 64, 256)
GENERATORS = {
    f"{precision}{', kernel by kernel' * (not graphs)}": (precision, graphs)
    for precision in ("exact", "fast")
    for graphs in (True, False)
}
PLAINEST = "exact, kernel by kernel"
P50_GOAL_MS, RATE_GOAL = 15.0, 5000.0  # of an H200


def make_checkpoint(path: Path) -> None:
    """A checkpoint as the shipped one, but for its weights and words."""
    config = load_config("reference", [f"model.max_new_tokens={decode.TOKENS}"])
    words = [f"word{i}" for i in range(decode.SHAPES[SHAPE]["vocabulary"] - SPECIAL)]
    tokenizer = Tokenizer.build([{"findings": " ".join(words)}], config.data.sections)
    torch.manual_seed(0)
    export_model(build_model(config, len(tokenizer)), tokenizer, config, path)


def generator(connection: Connection, checkpoint: Path, precision: str, graphs: bool, device: str = "cuda") -> None:
    """A generator in a process of its own. Told "one" it answers milliseconds of single studies, told a number the
    reports a second of so many prepared at once."""
    try:
        served = Generator.load(
            checkpoint, device=device, precision=precision, max_rows=1024, max_queue=8192, cuda_graphs=graphs
        )
        served.warm_up()
        image = np.array(Image.open(IMAGE).convert("L"))
        with torch.inference_mode():
            views = served._module.preprocess((torch.from_numpy(image) / 255).to(served.device))[None]
        connection.send([str(served.submit([image], OPTIONS).result().hypotheses[0].token_texts)])
        while told := connection.recv():
            connection.send(_single(served, image) if told == "one" else _many(served, views, told))
    except Exception as error:
        connection.send(f"failed: {type(error).__name__}: {error}")


def _single(served: Generator, image: np.ndarray) -> list[float]:
    found = []
    for _ in range(10):
        started = time.perf_counter()
        served.submit([image], OPTIONS).result()
        found.append((time.perf_counter() - started) * 1e3)
    return found


def _many(served: Generator, views: torch.Tensor, count: int) -> list[float]:
    """Tensors in, sequences out: neither images nor words."""
    ready: Future[torch.Tensor] = Future()
    ready.set_result(views)
    started = time.perf_counter()
    for future in [served._engine.submit(ready, OPTIONS) for _ in range(count)]:
        future.result()
    return [count / (time.perf_counter() - started)]


def end_to_end(rounds: int, device: str = "cuda", count: int = 1000) -> list[Row]:
    """A checkpoint of the shipped shape through its generator, the variants in turns."""
    spawn = multiprocessing.get_context("spawn")
    connections: dict[str, Connection] = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "random.pt"
        make_checkpoint(checkpoint)
        for name, (precision, graphs) in GENERATORS.items():
            connections[name], theirs = spawn.Pipe()
            spawn.Process(target=generator, args=(theirs, checkpoint, precision, graphs, device), daemon=True).start()
            theirs.close()  # so that the end of the process is seen
        written = {name: _answer(connection) for name, connection in connections.items()}
    failed = {name: said for name, said in written.items() if isinstance(said, str)}
    single: dict[str, list[float]] = {name: [] for name in connections}
    many: dict[str, list[float]] = {name: [] for name in connections}
    for turn in range(rounds + 1):
        for told, found in (("one", single), (count, many)):
            for name in [name for name in connections if name not in failed]:
                connections[name].send(told)
                said = _answer(connections[name])
                if isinstance(said, str):
                    failed[name] = said
                elif turn:
                    found[name] += said
    rows = [Row(f"end to end: {name}", None, "ms", note=f"not measured, {said}") for name, said in failed.items()]
    for name in [name for name in connections if name not in failed]:
        connections[name].send(0)
        times = sorted(single[name])
        spread = times[0], times[-1]
        title = f"one report, pixels in, p50: {name}"
        note = f"writes what {PLAINEST} writes: {written[name] == written[PLAINEST]}"
        rows.append(Row(title, statistics.median(times), "ms", "", spread, P50_GOAL_MS, at_most=True, note=note))
    for name in [name for name in connections if name not in failed]:
        row = rates(f"{count} studies at once, tensors in: {name}", "reports/s", many[name])
        rows.append(Row(row.name, row.value, row.unit, spread=row.spread, goal=RATE_GOAL))
    return rows


def _answer(connection: Connection) -> Any:
    try:
        return connection.recv()
    except EOFError:
        return "failed: its process died"


def decoding(rounds: int, until: float) -> list[Row]:
    """Both shapes at all batch sizes, as far as the time goes."""
    rows = []
    with ExitStack() as stack:
        connections = {label: stack.enter_context(decode.processes(label)) for label in decode.SHAPES}
        for batch in BATCHES:
            for label in decode.SHAPES:
                if time.monotonic() > until:
                    print(f"no time left for {label}, batch {batch}")
                    continue
                rows += decode.turns(f"{label}, batch {batch}", connections[label], batch, rounds)
    return rows


def _encode(connection: Connection, rounds: int) -> None:
    connection.send(encoder.run(rounds, short=False))


def encoding(rounds: int) -> list[Row]:
    """In a process of its own, as all the others."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    multiprocessing.get_context("spawn").Process(target=_encode, args=(theirs, rounds), daemon=True).start()
    theirs.close()
    found = _answer(ours)
    return found if isinstance(found, list) else [Row("encoders", None, "images/s", note=f"not measured, {found}")]


def main() -> int:
    """Exit status 0 whether or not goals were met, and where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu-*.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=110.0, help="no batch size of decoding begins later")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("No GPU was found: nothing was measured.")
        return 0
    warnings.filterwarnings("ignore")  # those of the contestants
    started = time.monotonic()
    parts: dict[str, Callable[[], list[Row]]] = {
        "gpu-generator": lambda: end_to_end(args.rounds),
        "gpu-encoder": lambda: encoding(args.rounds),
        "gpu-decode": lambda: decoding(args.rounds, started + args.seconds),
    }
    for name, part in parts.items():
        rows = part()
        print_table(name, rows)
        print(f"written to {write(name, rows, args.out)}, {time.monotonic() - started:.0f} s so far\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
