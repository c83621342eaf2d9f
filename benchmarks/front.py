"""The service without its engine: what receiving, decoding and answering cost, in requests a second of a core.

The engine of `benchmarks.instant_server` answers at once. Processor time is counted rather than the clock read, process
by process, so that neither the client's share of the machine nor neighbours change what is found.
"""

from __future__ import annotations

import asyncio
import io
import itertools
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.client import Request
from benchmarks.load import closed_loop
from benchmarks.results import Row, rates
from benchmarks.server import serving

SAMPLE = Path(__file__).with_name("phantom-frontal.png")
SIDE, GRAIN = 512, 5.0  # which make a PNG of 165 KB
CLIENTS = 16
GOAL = 400.0


def run(rounds: int, short: bool) -> list[Row]:
    """A server for each round and kind of file."""
    rows: list[Row] = []
    for kind in ("PNG",) if short else ("PNG", "JPEG"):
        content = film(kind)
        request = Request("POST", "/v1/report", f"image/{kind.lower()}", content)
        servers, workers = zip(*(_costs(request, 4.0 if short else 10.0) for _ in range(rounds)), strict=True)
        title = f"front alone, {kind} of {SIDE}², {len(content) / 1e3:.0f} KB"
        both = [1 / (server + worker) for server, worker in zip(servers, workers, strict=True)]
        rows.append(
            replace(rates(f"{title}: requests", "a second of a core", both), goal=GOAL if kind == "PNG" else None)
        )
        rows.append(rates(f"{title}: server process", "ms of a core", [1e3 * seconds for seconds in servers]))
        rows.append(rates(f"{title}: decode workers", "ms of a core", [1e3 * seconds for seconds in workers]))
    return rows


def film(kind: str) -> bytes:
    """A file of a phantom with the grain of a detector."""
    phantom = Image.open(SAMPLE).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, GRAIN, (SIDE, SIDE))
    file = io.BytesIO()
    Image.fromarray((np.asarray(phantom) + grain).clip(0, 255).astype(np.uint8)).save(file, kind)
    return file.getvalue()


def _costs(request: Request, seconds: float) -> tuple[float, float]:
    """Processor seconds that a request takes in the server process and in its decode workers."""
    with TemporaryDirectory() as folder, serving(Path(folder), "benchmarks.instant_server") as server:
        asyncio.run(closed_loop(server.port, itertools.repeat(request), CLIENTS, 1.0))
        before = server.processor_seconds(), server.worker_seconds()
        load = asyncio.run(closed_loop(server.port, itertools.repeat(request), CLIENTS, seconds))
        after = server.processor_seconds(), server.worker_seconds()
    if bad := [one for one in load.answers if one.status != 200]:
        raise RuntimeError(f"{len(bad)} of {len(load.answers)} answers were no reports: {bad[0].body[:200]!r}")
    return (after[0] - before[0]) / len(load.answers), (after[1] - before[1]) / len(load.answers)
