"""`python -m benchmarks.gpu --out FOLDER`: what a GPU makes of it, meant for ten minutes.

One report end to end and reports a second of a checkpoint of the shipped shape, the same over HTTP, then encoding and
decoding beside their peers, ours with CUDA graphs and kernel by kernel. Every contestant has a process of its own: one
that fails stands in the table with what it failed of, and the others go on. Results are written after each part.

Without a GPU the same runs on the processor in a short form, and nothing is written: it shows that it runs.

The checkpoint is made here, with random weights: torch may not be able to load what a later version has saved.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
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
from benchmarks.client import Request
from benchmarks.front import film
from benchmarks.load import Load, many_clients
from benchmarks.results import Row, print_table, rates, write
from benchmarks.server import serving
from model_training.config import load_config
from model_training.export import export_model
from model_training.model.build import build_model

IMAGE = Path(__file__).with_name("phantom-frontal.png")
SHAPE, SPECIAL = "shipped shape", 6  # tokens that are no words
BUSY = f"/v1/report?min_new_tokens={decode.TOKENS}&max_new_tokens={decode.TOKENS}&repetition_penalty=1.3"
OPTIONS = DecodingOptions(min_new_tokens=decode.TOKENS, max_new_tokens=decode.TOKENS, repetition_penalty=1.3)
BATCHES = (1, 8, 16, 64, 256)
GENERATORS = {
    f"{precision}{', kernel by kernel' * (not graphs)}": (precision, graphs)
    for precision in ("exact", "fast")
    for graphs in (True, False)
}
PLAINEST = "exact, kernel by kernel"
P50_GOAL_MS, RATE_GOAL, HTTP_GOAL = 15.0, 5000.0, 1000.0  # of an H200 with 16 cores
MAX_ROWS, MAX_QUEUE = 1024, 8192
CLIENTS, PROCESSES = (1, 16, 128, 256), 4
FRONTS = 4  # which take some 2,000 requests a second


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    device: str
    rounds: int
    studies: int  # at once
    clients: Sequence[int]
    fronts: int
    seconds: float  # of each number of clients
    batches: Sequence[int]
    until: float  # a `time.monotonic` time after which no batch size is begun
    short: bool = False

    def goal(self, of_a_gpu: float) -> float | None:
        """None where the goal is not to be held against what runs here."""
        return None if self.short else of_a_gpu

    @property
    def generators(self) -> dict[str, tuple[str, bool]]:
        """Those that can run: nothing is recorded but on a GPU."""
        return {name: one for name, one in GENERATORS.items() if self.device == "cuda" or not one[1]}


def make_checkpoint(path: Path) -> None:
    """A checkpoint as the shipped one, but for its weights and words."""
    config = load_config("reference", [f"model.max_new_tokens={decode.TOKENS}"])
    words = [f"word{i}" for i in range(decode.SHAPES[SHAPE]["vocabulary"] - SPECIAL)]
    tokenizer = Tokenizer.build([{"findings": " ".join(words)}], config.data.sections)
    torch.manual_seed(0)
    export_model(build_model(config, len(tokenizer)), tokenizer, config, path)


def generator(connection: Connection, checkpoint: Path, precision: str, graphs: bool, device: str) -> None:
    """A generator in a process of its own. Told "one" it answers milliseconds of single studies, told a number the
    reports a second of so many prepared at once."""
    try:
        served = Generator.load(
            checkpoint, device=device, precision=precision, max_rows=MAX_ROWS, max_queue=MAX_QUEUE, cuda_graphs=graphs
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


def end_to_end(extent: Extent, checkpoint: Path) -> list[Row]:
    """A checkpoint of the shipped shape through its generator, the variants in turns."""
    spawn = multiprocessing.get_context("spawn")
    connections: dict[str, Connection] = {}
    for name, (precision, graphs) in extent.generators.items():
        connections[name], theirs = spawn.Pipe()
        arguments = theirs, checkpoint, precision, graphs, extent.device
        spawn.Process(target=generator, args=arguments, daemon=True).start()
        theirs.close()  # so that the end of the process is seen
    written = {name: _answer(connection) for name, connection in connections.items()}
    failed = {name: said for name, said in written.items() if isinstance(said, str)}
    single: dict[str, list[float]] = {name: [] for name in connections}
    many: dict[str, list[float]] = {name: [] for name in connections}
    for turn in range(extent.rounds + 1):
        for told, found in (("one", single), (extent.studies, many)):
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
        goal = extent.goal(P50_GOAL_MS)
        rows.append(Row(title, statistics.median(times), "ms", "", spread, goal, at_most=True, note=note))
    for name in [name for name in connections if name not in failed]:
        row = rates(f"{extent.studies} studies at once, tensors in: {name}", "reports/s", many[name])
        rows.append(replace(row, goal=extent.goal(RATE_GOAL)))
    return rows


def _answer(connection: Connection) -> Any:
    try:
        return connection.recv()
    except EOFError:
        return "failed: its process died"


def served(extent: Extent, checkpoint: Path) -> list[Row]:
    """The service with that checkpoint and several fronts over HTTP, exact and fast in turns: clients that wait for
    their report of a film of 512 pixels, on the same machine."""
    request = Request("POST", BUSY, "image/png", film("PNG"))
    found: dict[tuple[str, int], list[Load]] = defaultdict(list)
    for _ in range(extent.rounds):
        for precision in ("exact", "fast"):
            settings: dict[str, object] = {"checkpoint": checkpoint, "device": extent.device, "precision": precision}
            settings |= {"fronts": extent.fronts}
            settings |= {} if extent.short else {"max_rows": MAX_ROWS, "max_queue": MAX_QUEUE}
            with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **settings) as server:
                for clients in extent.clients:
                    load = many_clients(server.port, request, clients, extent.seconds, PROCESSES)
                    found[precision, clients].append(load)
    rows = []
    for (precision, clients), loads in found.items():
        title = f"over HTTP, {extent.fronts} fronts, {clients} clients, {precision}"
        row = rates(f"{title}: reports", "reports/s", [load.rate for load in loads])
        bad = sum(answer.status != 200 for load in loads for answer in load.answers)
        goal = extent.goal(HTTP_GOAL) if clients == max(extent.clients) else None
        rows.append(replace(row, goal=goal, note=f"{bad} answers were no reports" if bad else ""))
        rows.append(rates(f"{title}: p50", "ms", [1e3 * load.percentile(0.5) for load in loads]))
    return rows


def decoding(extent: Extent) -> list[Row]:
    """Both shapes at all batch sizes, as far as the time goes."""
    rows = []
    shapes = [SHAPE] if extent.short else list(decode.SHAPES)
    with ExitStack() as stack:
        connections = {label: stack.enter_context(decode.processes(label)) for label in shapes}
        for batch in extent.batches:
            for label in shapes:
                if time.monotonic() > extent.until:
                    print(f"no time left for {label}, batch {batch}")
                    continue
                rows += decode.turns(f"{label}, batch {batch}", connections[label], batch, extent.rounds)
    return rows


def _encode(connection: Connection, rounds: int, short: bool) -> None:
    connection.send(encoder.run(rounds, short=short))


def encoding(extent: Extent) -> list[Row]:
    """In a process of its own, as all the others."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    spawn.Process(target=_encode, args=(theirs, extent.rounds, extent.short), daemon=True).start()
    theirs.close()
    found = _answer(ours)
    return found if isinstance(found, list) else [Row("encoders", None, "images/s", note=f"not measured, {found}")]


def main() -> int:
    """Exit status 0 whether or not goals were met, and where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu-*.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=420.0, help="no batch size of decoding begins later")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")  # those of the contestants
    started = time.monotonic()
    if torch.cuda.is_available():
        extent = Extent("cuda", args.rounds, 1000, CLIENTS, FRONTS, 5.0, BATCHES, started + args.seconds)
    else:
        print("No GPU was found: the short form on the processor, of which nothing is written.")
        extent = Extent("cpu", 1, 8, (1, 4), 2, 4.0, (1, 8), math.inf, short=True)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "random.pt"
        make_checkpoint(checkpoint)
        parts: dict[str, Callable[[], list[Row]]] = {
            "gpu-generator": lambda: end_to_end(extent, checkpoint),
            "gpu-service": lambda: served(extent, checkpoint),
            "gpu-encoder": lambda: encoding(extent),
            "gpu-decode": lambda: decoding(extent),
        }
        for name, part in parts.items():
            rows = part()
            print_table(name, rows)
            where = "not written" if extent.short else f"written to {write(name, rows, args.out)}"
            print(f"{where}, {time.monotonic() - started:.0f} s so far\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
