"""The whole service beside other servers of the same archive: open-loop Poisson arrivals, mixed widths and lengths.

Every contestant gets the same mixture: one image a study, 1 to 4 beams, 20 to 100 tokens forced, with and without
repetition penalty. Its goodput is the highest rate of answers at which 99 of 100 come within `LIMIT_SECONDS`, over a
ladder of arrival rates around what it does with 16 clients that wait for each other. The client shares the machine with
the server, for all of them alike.
"""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from app.images.decode import decode_image
from app.inference.generator import Generator
from app.inference.options import DecodingOptions
from benchmarks.client import Request, ask
from benchmarks.load import closed_loop, open_loop
from benchmarks.results import Row, rates, ratio
from benchmarks.server import PATIENCE_SECONDS, free_port, started

CHECKPOINT = Path(__file__).parents[1] / "weights" / "xray-report-reference.pt"
SAMPLE = Path(__file__).with_name("phantom-frontal.png")
LIMIT_SECONDS = 1.5
LENGTHS = (20, 100)  # tokens, the most being what the archive writes
PENALTIES = (1.0, 1.3)  # none, and one that is often served with
CLIENTS = 16
THREADS = max(1, (os.cpu_count() or 1) - 1)  # our default, for all of them: with all cores they are slower
OURS, OURS_FAST = "xray-report exact", "xray-report fast"

Job = tuple[bytes, DecodingOptions]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server: its command line (`{port}` filled in) and how it is asked."""

    name: str
    command: tuple[str, ...]
    request: Callable[[Job], Request]
    precision: str = "exact"  # of ours


def _ours(job: Job) -> Request:
    image, options = job
    query = "&".join(f"{name}={str(value).lower()}" for name, value in options.as_dict().items())
    return Request("POST", f"/v1/report?{query}", "image/png", image)


def _theirs(path: str) -> Callable[[Job], Request]:
    def request(job: Job) -> Request:
        image, options = job
        body = {"image": base64.b64encode(image).decode(), "options": options.as_dict()}
        return Request("POST", path, "application/json", json.dumps(body).encode())

    return request


def _peer(name: str, path: str = "/report") -> tuple[tuple[str, ...], Callable[[Job], Request]]:
    command = (sys.executable, "-W", "ignore", "-m", f"benchmarks.peers.{name}_app", str(CHECKPOINT), "{port}")
    return command, _theirs(path)


_SERVE = (sys.executable, "-m", "app.cli", "serve", "--port", "{port}")
CONTESTANTS = (
    Contestant(OURS, _SERVE, _ours),
    Contestant(OURS_FAST, _SERVE, _ours, "fast"),
    Contestant("LitServe", *_peer("litserve", "/predict")),
    Contestant("Ray Serve", *_peer("ray")),
    Contestant("FastAPI, one at a time", *_peer("plain")),
)


def mixture(seed: int) -> Iterator[Job]:
    """Studies without end, the same for every contestant."""
    rng = random.Random(seed)
    sample = Image.open(SAMPLE)
    files = []
    for shift in range(0, 64, 8):
        file = io.BytesIO()
        sample.crop((shift, 0, sample.width, sample.height)).save(file, "PNG")
        files.append(file.getvalue())
    while True:
        length = rng.randint(*LENGTHS)
        options = DecodingOptions(
            num_beams=rng.randint(1, 4),
            min_new_tokens=length,
            max_new_tokens=length,
            repetition_penalty=rng.choice(PENALTIES),
        )
        yield rng.choice(files), options


@contextmanager
def serving(contestant: Contestant) -> Iterator[tuple[int, int]]:
    """The port and process id of a contestant that has answered; it and all it started are ended."""
    port = free_port()
    command = [part.format(port=port) for part in contestant.command]
    environment = {
        "XRAY_REPORT_LOG_LEVEL": "error",
        "XRAY_REPORT_PRECISION": contestant.precision,
        "OMP_NUM_THREADS": str(THREADS),
    }
    with started(command, Path(os.devnull), environment, session=True) as process:
        try:
            until = time.monotonic() + PATIENCE_SECONDS
            request = contestant.request(next(mixture(0)))
            while asyncio.run(ask(port, request)).status != 200:
                if time.monotonic() > until or process.poll() is not None:
                    raise RuntimeError(f"{contestant.name} did not start")
                time.sleep(0.5)
            yield port, process.pid
        finally:
            process.terminate()  # Ray has more to end than what is killed then
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)


def crowd(port: int, requests: Iterator[Request], seconds: float) -> float:
    """Reports a second with as many clients as keep any contestant busy."""
    asyncio.run(closed_loop(port, requests, 4, 2.0))
    return asyncio.run(closed_loop(port, requests, CLIENTS, seconds)).rate


def goodput(port: int, requests: Iterator[Request], rates: Sequence[float], seconds: float) -> float:
    """The highest of these arrival rates that is answered within the limit; 0 if none is."""
    best = 0.0
    for rate in rates:
        load = asyncio.run(open_loop(port, requests, rate, seconds))
        if not load.keeps(LIMIT_SECONDS):
            break
        best = len(load.answers) / max(seconds, load.seconds)
    return best


def run(rounds: int, short: bool) -> list[Row]:
    """Contestants take turns, each in a process of its own that ends before the next begins."""
    steps, seconds = ((0.6, 0.9), 8.0) if short else ((0.45, 0.6, 0.7, 0.8, 0.9, 1.0), 12.0)
    contestants = CONTESTANTS[:4] if short else CONTESTANTS
    crowds: dict[str, list[float]] = {one.name: [] for one in contestants}
    goodputs: dict[str, list[float]] = {one.name: [] for one in contestants}
    for turn in range(rounds):
        for contestant in contestants:
            requests = map(contestant.request, mixture(turn))
            with serving(contestant) as (port, _):
                full = crowd(port, requests, seconds)
                crowds[contestant.name].append(full)
                goodputs[contestant.name].append(goodput(port, requests, [step * full for step in steps], seconds))
    title = f"goodput, p99 within {LIMIT_SECONDS:g} s"
    rows = [rates(f"{CLIENTS} clients, closed loop: {name}", "reports/s", values) for name, values in crowds.items()]
    rows += [rates(f"{title}: {name}", "reports/s", values) for name, values in goodputs.items()]
    for peer in contestants[2:]:
        for ours in (OURS, OURS_FAST):
            if min(goodputs[peer.name]) > 0:
                goal = None if peer.name.startswith("FastAPI") else 1.5
                name = f"{title}: {ours} / {peer.name}"
                rows.append(ratio(name, goodputs[ours], goodputs[peer.name], peer.name, goal))
    capacity = statistics.median(goodputs[OURS]) or statistics.median(crowds[OURS])
    return [*rows, *alone(capacity, seconds), engine_share(crowds[OURS])]


def alone(capacity: float, seconds: float) -> list[Row]:
    """Ours without neighbours: latency under load, overload, idling, the HTTP layer's own time."""
    contestant = CONTESTANTS[0]
    requests = map(contestant.request, mixture(99))
    with serving(contestant) as (port, pid):
        asyncio.run(closed_loop(port, requests, 4, 3.0))
        unloaded = asyncio.run(closed_loop(port, requests, 1, seconds)).percentile(0.5)
        busy = asyncio.run(open_loop(port, requests, 0.8 * capacity, 2 * seconds)).percentile(0.99)
        peak = asyncio.run(closed_loop(port, requests, 2 * CLIENTS, seconds)).rate
        crowded = asyncio.run(open_loop(port, requests, 3 * peak, seconds))
        refused = [one.seconds * 1e3 for one in crowded.answers if one.status == 503]
        others = [one.status for one in crowded.answers if one.status not in (200, 503)]
        time.sleep(1.0)
        before = _cpu_seconds(pid)
        time.sleep(10.0)
        idle = 100 * (_cpu_seconds(pid) - before) / 10.0
        own = asyncio.run(_own_time(port))
    return [
        Row("unloaded p50", unloaded * 1e3, "ms"),
        Row("p99 at 80% of goodput / unloaded p50", busy / unloaded, "times", goal=3.0, at_most=True),
        Row(f"reports at 3x overload / with {2 * CLIENTS} clients", crowded.rate / peak, "times", goal=0.95),
        Row(
            "rejection p99 at 3x overload",
            float(np.quantile(refused, 0.99)) if refused else 0.0,
            "ms",
            goal=20.0,
            at_most=True,
            note=f"{len(refused)} of {len(crowded.answers)} refused, {len(others)} other answers",
        ),
        Row("idle, share of a core", idle, "%", goal=1.0, at_most=True),
        Row("HTTP layer's own time, JPEG of 500 KB, p50", own, "ms", goal=3.0, at_most=True),
    ]


def engine_share(service: Sequence[float]) -> Row:
    """The service at its fullest beside the engine alone: the same mixture, images in memory, all submitted at once."""
    jobs = list(itertools.islice(mixture(0), 96))
    generator = Generator.load(CHECKPOINT, max_queue=len(jobs), threads=THREADS)
    try:
        generator.warm_up()
        pictures = [decode_image(image).pixels for image, _ in jobs]
        measured = []
        for _ in service:
            started = time.perf_counter()
            for future in [generator.submit([p], o) for p, (_, o) in zip(pictures, jobs, strict=True)]:
                future.result()
            measured.append(len(jobs) / (time.perf_counter() - started))
    finally:
        generator.close()
    return ratio(f"{CLIENTS} clients / engine alone, images in memory", service, measured, "the engine alone", 0.5)


async def _own_time(port: int) -> float:
    """Milliseconds between the client's clock and the sum of the stages the answer tells."""
    film = np.asarray(Image.open(SAMPLE).convert("L").resize((1200, 1200)), np.int16)  # anything else would be refused
    grain = np.random.default_rng(0).integers(-8, 9, film.shape)
    file = io.BytesIO()
    Image.fromarray((film + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=95)
    request = Request("POST", "/v1/report?num_beams=1&max_new_tokens=1", "image/jpeg", file.getvalue())
    own: list[float] = []
    for _ in range(30):
        answer = await ask(port, request)
        timing = json.loads(answer.body)["timing"]
        stages = sum(timing[f"{name}_ms"] for name in ("decode", "queue", "encode", "generate"))
        own.append(answer.seconds * 1e3 - stages)
    return statistics.median(own)


def _cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children so far."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if pid in (int(stat.parent.name), int(fields[1])):
                total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
