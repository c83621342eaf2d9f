"""The service without its engine: what receiving, decoding and answering cost, in requests a second of a core.

The engine of `benchmarks.instant_server` answers at once. Processor time is counted rather than the clock read, process
by process, so that neither the client's share of the machine nor neighbours change what is found.
"""

from __future__ import annotations

import asyncio
import io
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.client import Request
from benchmarks.front_engine import measure
from benchmarks.load import closed_loop
from benchmarks.results import Row, rates
from benchmarks.server import Server, children, processor_seconds, serving

SAMPLE = Path(__file__).with_name("phantom-frontal.png")
SIDE, GRAIN = 512, 5.0  # which make a PNG of 165 KB
CLIENTS = 16  # of each front
FRONTS = 2
GOAL = 400.0


def run(rounds: int, short: bool) -> list[Row]:
    """A server for each round, kind of file and number of fronts."""
    rows: list[Row] = []
    seconds = 4.0 if short else 10.0
    for kind in ("PNG",) if short else ("PNG", "JPEG"):
        content = film(kind)
        request = Request("POST", "/v1/report", f"image/{kind.lower()}", content)
        title = f"{kind} of {SIDE}², {len(content) / 1e3:.0f} KB"
        rows += _rows(f"front alone, {title}", [_costs(request, seconds, 1) for _ in range(rounds)])
        if kind == "PNG":
            rows[0] = replace(rows[0], goal=GOAL)
            several = [_costs(request, seconds, FRONTS) for _ in range(rounds)]
            rows += _rows(f"{FRONTS} fronts before one engine, {title}", several)
            parts = [measure(seconds) for _ in range(rounds)]
            title = f"the engine's side of fronts that send nothing but messages, {SIDE}²"
            rows.append(rates(f"{title}: requests", "a second", [one.rate for one in parts]))
            rows.append(rates(f"{title}: its process", "ms of a core", [1e3 * one.seconds for one in parts]))
    return rows


@dataclass(frozen=True, slots=True)
class _Costs:
    """Processor seconds that a request takes in the processes that take it, in decode workers, and in the process with
    the engine where that is another one."""

    fronts: float
    workers: float
    engine: float | None

    @property
    def a_core(self) -> float:
        """Requests a second of a core."""
        return 1 / (self.fronts + self.workers + (self.engine or 0.0))


def _rows(title: str, costs: list[_Costs]) -> list[Row]:
    def milliseconds(name: str, seconds: list[float]) -> Row:
        return rates(f"{title}: {name}", "ms of a core", [1e3 * one for one in seconds])

    engine = [one.engine for one in costs if one.engine is not None]
    rows = [
        rates(f"{title}: requests", "a second of a core", [one.a_core for one in costs]),
        milliseconds("front processes" if engine else "server process", [one.fronts for one in costs]),
        milliseconds("decode workers", [one.workers for one in costs]),
    ]
    return [*rows, milliseconds("process with the engine", engine)] if engine else rows


def film(kind: str) -> bytes:
    """A file of a phantom with the grain of a detector."""
    phantom = Image.open(SAMPLE).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, GRAIN, (SIDE, SIDE))
    file = io.BytesIO()
    Image.fromarray((np.asarray(phantom) + grain).clip(0, 255).astype(np.uint8)).save(file, kind)
    return file.getvalue()


def _costs(request: Request, seconds: float, fronts: int) -> _Costs:
    module = "benchmarks.instant_server"
    with TemporaryDirectory() as folder, serving(Path(folder), module, fronts=fronts, threads=1) as server:
        if fronts > 1:
            server.lines("ready", fronts + 1)
        asyncio.run(closed_loop(server.port, itertools.repeat(request), CLIENTS * fronts, 1.0))
        before = _processor_seconds(server, fronts)
        load = asyncio.run(closed_loop(server.port, itertools.repeat(request), CLIENTS * fronts, seconds))
        after = _processor_seconds(server, fronts)
    if bad := [one for one in load.answers if one.status != 200]:
        raise RuntimeError(f"{len(bad)} of {len(load.answers)} answers were no reports: {bad[0].body[:200]!r}")
    server_process, front_processes, workers = (
        (now - then) / len(load.answers) for now, then in zip(after, before, strict=True)
    )
    return _Costs(front_processes, workers, server_process) if fronts > 1 else _Costs(server_process, workers, None)


def _processor_seconds(server: Server, fronts: int) -> tuple[float, float, float]:
    """Of the process that was started, of fronts beside it, and of decode workers."""
    started = server.workers
    if fronts == 1:
        return server.processor_seconds(), 0.0, sum(map(processor_seconds, started))
    workers = [worker for front in started for worker in children(front)]
    return server.processor_seconds(), sum(map(processor_seconds, started)), sum(map(processor_seconds, workers))
