"""What one replica costs, measured on the real server, and whether the simulation foretells other loads and two.

Each replica has one processor of this machine for itself; the client, which also sends each study to the replica with
the fewest outstanding, shares the last one with the last of them. The curve is taken from one replica alone, with
clients that wait for their answer. What it is then asked to foretell are Poisson arrivals, at the very times at which
they were sent.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.capacity.curve import Curve, Kind, mean_of
from benchmarks.capacity.fleet import Fleet, Outcome
from benchmarks.client import Request, ask
from benchmarks.dicom import dicom_file
from benchmarks.faults.studies import multipart, png
from benchmarks.load import closed_loop
from benchmarks.results import FOLDER, Row
from benchmarks.server import ROOT, Server, processor_seconds, started

CURVE = FOLDER / "capacity-curve.json"
FILMS = ROOT / "weights" / "samples"
PHANTOM = ROOT / "benchmarks" / "phantom-frontal.png", ROOT / "benchmarks" / "phantom-lateral.png"
CLIENTS = (4, 12, 24)  # that the curve is taken with, beside studies one by one
LOADS = (0.5, 0.8, 1.2)  # of what the last of these got
REPLICAS = (1, 2)
DICOM = "two DICOM views"  # of 2,048 pixels a side
WITHIN = 20.0  # per cent
TURNS = 5  # of each study alone
STEPS, ROWS = "xray_report_batch_rows_count", "xray_report_batch_rows_sum"
STEPPING, ENCODING = ("xray_report_stage_duration_seconds_sum " + stage for stage in ("step", "encode"))


@dataclass(frozen=True, slots=True)
class Job:
    """A study as it is sent, and how common it is among those that servers are loaded with."""

    name: str
    images: int
    request: Request
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A study that was sent: when, which, and after how many seconds it was answered (infinite: not with a report)."""

    at: float
    job: int
    seconds: float


def jobs() -> list[Job]:
    """The films that come with the weights, phantoms, and a study of two views, with the options of the checkpoint; and
    one study as a PACS has it, which is measured alone."""
    target = "/v1/report"
    films = sorted(FILMS.glob("*.jpg"))
    found = [Job(path.stem, 1, Request("POST", target, "image/jpeg", path.read_bytes())) for path in films]
    views = [Image.open(path) for path in PHANTOM]
    for shift in (0, 8, 16):
        cut = views[0].crop((shift, shift, views[0].width, views[0].height))
        found.append(Job(f"phantom, {shift} pixels cut off", 1, Request("POST", target, "image/png", png(cut))))
    found.append(Job("phantom, two views", 2, Request("POST", target, *multipart([png(view) for view in views]))))
    dicom = multipart([dicom_file(view, "JPEG 2000") for view in views])
    return [*found, Job(DICOM, 2, Request("POST", target, *dicom), share=0.0)]


@contextmanager
def replica(core: int, folder: Path) -> Iterator[tuple[Server, float]]:
    """A server with this processor for itself, warm, and the seconds until it was ready."""
    begun = time.perf_counter()
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "app.cli", "serve"]
    environment = {"XRAY_REPORT_PORT": "0", "XRAY_REPORT_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with started(command, folder / f"{core}.log", environment, session=True) as process:
        server = Server(process, folder / f"{core}.log")
        yield server, time.perf_counter() - begun


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds of a server and its workers, and what its metrics have counted, so far."""

    processor: float
    steps: float
    rows: float
    stepping: float
    encoding: float


async def _spent(server: Server) -> Spent:
    metrics = await server.metrics()
    processor = sum(map(processor_seconds, (server.process.pid, *server.workers)))
    return Spent(processor, *(metrics.get(name, 0.0) for name in (STEPS, ROWS, STEPPING, ENCODING)))


def _since(now: Spent, then: Spent) -> Spent:
    return Spent(*(getattr(now, name) - getattr(then, name) for name in Spent.__slots__))


def _mixture(given: Sequence[Job]) -> Iterator[Request]:
    return itertools.cycle([job.request for job in given if job.share])


async def measured_curve(server: Server, given: Sequence[Job], seconds: float) -> tuple[Curve, float]:
    """The curve of a server, and the reports a second that it gets done with the most `CLIENTS`."""
    curve = await _alone(server, given)
    each = [kind.prepare_seconds + kind.images * curve.encode_seconds for kind in curve.kinds if kind.share]
    rows, costs, rate = [curve.step_rows[0]], [curve.step_seconds[0]], 0.0
    for clients in CLIENTS:
        requests = _mixture(given)
        await closed_loop(server.port, requests, clients, 2.0)
        before = await _spent(server)
        load = await closed_loop(server.port, requests, clients, seconds)
        spent = _since(await _spent(server), before)
        rate = load.rate
        rows.append(spent.rows / spent.steps)
        costs.append((spent.processor - len(load.good()) * statistics.mean(each)) / spent.steps)
    slope, least = np.polyfit(rows, costs, 1)  # full servers differ little in beams, and more in what a step costs
    ends = min(rows), max(rows)
    return replace(curve, step_rows=ends, step_seconds=tuple(float(least + slope * end) for end in ends)), rate


async def _alone(server: Server, given: Sequence[Job]) -> Curve:
    """What each kind costs while nothing else is done. Processor time that no stage accounts for is spent before."""
    for job in given:
        await ask(server.port, job.request)
    kinds, seconds = list[Kind](), list[float]()
    begun = await _spent(server)
    for job in given:
        before = await _spent(server)
        answers = [await ask(server.port, job.request) for _ in range(TURNS)]
        spent = _since(await _spent(server), before)
        prepare = max(0.0, spent.processor - spent.stepping - spent.encoding) / TURNS
        beams = int(answers[0].json()["options"]["num_beams"])
        kinds.append(Kind(job.name, job.images, beams, spent.steps / TURNS, prepare, job.share))
        seconds.append(statistics.median(answer.seconds for answer in answers))
    spent = _since(await _spent(server), begun)
    encode = spent.encoding / TURNS / sum(job.images for job in given)
    step = spent.stepping / spent.steps
    known = [kind.prepare_seconds + kind.images * encode + kind.steps * step for kind in kinds]
    overhead = max(0.0, statistics.mean(seconds) - statistics.mean(known))
    return Curve(tuple(kinds), encode, (spent.rows / spent.steps,), (step,), overhead_seconds=overhead)


async def replay(
    servers: Sequence[Server], given: Sequence[Job], times: Sequence[float], order: Sequence[int]
) -> list[Sent]:
    """Sends studies at these times, each to the server with the fewest outstanding, and waits for all answers."""
    clock = asyncio.get_running_loop().time
    outstanding, asked = [0] * len(servers), [0] * len(servers)
    sent: list[Sent] = []
    begun = clock()

    async def arrive(number: int, job: int) -> None:
        chosen = min(range(len(servers)), key=lambda i: (outstanding[i], asked[i]))
        asked[chosen], at = number + 1, clock() - begun
        outstanding[chosen] += 1
        answer = await ask(servers[chosen].port, given[job].request)
        outstanding[chosen] -= 1
        sent.append(Sent(at, job, answer.seconds if answer.status == 200 else float("inf")))

    async with asyncio.TaskGroup() as arrivals:
        for number, (at, job) in enumerate(zip(times, order, strict=True)):
            await asyncio.sleep(max(0.0, begun + at - clock()))
            arrivals.create_task(arrive(number, job))
    return sorted(sent, key=lambda one: one.at)


@dataclass(frozen=True, slots=True)
class Check:
    """One load on so many replicas: what was measured, and what the simulation makes of the same arrivals."""

    replicas: int
    load: float
    measured: Sequence[Sequence[Sent]]  # round by round
    predicted: Sequence[Outcome]
    client: float  # of a processor

    def rows(self) -> list[Row]:
        """Throughput, median and p99, and how far off the prediction is."""
        name = f"{self.replicas} replica{'s' * (self.replicas > 1)} at {self.load:g} of capacity"
        ends = [_rate([(one.at, one.seconds) for one in sent]) for sent in self.measured]
        simulated_ends = [
            _rate([(one.at, seconds) for one, seconds in zip(sent, outcome.seconds.tolist(), strict=True)])
            for sent, outcome in zip(self.measured, self.predicted, strict=True)
        ]
        real = _answered(np.array([one.seconds for sent in self.measured for one in sent]))
        simulated = _answered(np.concatenate([outcome.seconds for outcome in self.predicted]))
        rows = [
            _off(f"{name}: throughput", statistics.mean(simulated_ends), statistics.mean(ends), "reports/s", WITHIN)
        ]
        for share, goal in ((0.5, None), (0.99, WITHIN)):
            foretold, found = (float(np.quantile(values, share, method="higher")) for values in (simulated, real))
            rows.append(_off(f"{name}: p{100 * share:.0f}", foretold, found, "s", goal))
        asked = sum(map(len, self.measured))
        shares = [100 * (1 - len(answered) / asked) for answered in (simulated, real)]
        note = f"predicted {shares[0]:.1f}, measured {shares[1]:.1f} %"
        rows.append(Row(f"{name}: refused, prediction off by", abs(shares[0] - shares[1]), "points", note=note))
        return [*rows, Row(f"{name}: the client's part of a processor", 100 * self.client, "%")]


def _answered(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return seconds[np.isfinite(seconds)]


def _rate(finished: Sequence[tuple[float, float]]) -> float:
    """Reports a second, until the last one."""
    done = [at + seconds for at, seconds in finished if seconds < float("inf")]
    return len(done) / max(done)


def _off(name: str, predicted: float, measured: float, unit: str, goal: float | None) -> Row:
    note = f"predicted {predicted:.3g}, measured {measured:.3g} {unit}"
    error = 100 * abs(predicted / measured - 1)
    return Row(f"{name}, prediction off by", error, "%", goal=goal, at_most=True, note=note)


async def checked(
    servers: Sequence[Server], given: Sequence[Job], curve: Curve, rate: float, load: float, rounds: int, seconds: float
) -> Check:
    """Loads servers with `load` times `rate` studies a second for each of them, and simulates the same."""
    measured, predicted, client, lasted = [], [], 0.0, 0.0
    for turn in range(rounds):
        rng = np.random.default_rng((turn, round(100 * load), len(servers)))
        count = rng.poisson(len(servers) * load * rate * seconds)
        mixed = [number for number, job in enumerate(given) if job.share]
        times, order = np.sort(rng.uniform(0, seconds, count)), rng.choice(mixed, size=count)
        ours, begun = time.process_time(), time.perf_counter()
        sent = await replay(servers, given, times.tolist(), order.tolist())
        client, lasted = client + time.process_time() - ours, lasted + time.perf_counter() - begun
        measured.append(sent)
        fleet = Fleet(curve, len(servers), rng)
        predicted.append(fleet.run(np.array([one.at for one in sent]), np.array([one.job for one in sent])))
    return Check(len(servers), load, measured, predicted, client / lasted)


def curve_rows(curve: Curve, rate: float) -> list[Row]:
    """The curve for reading."""
    mean = mean_of(curve.kinds)
    dicom = next(kind for kind in curve.kinds if kind.name == DICOM)
    return [
        Row(f"one replica, one processor: {CLIENTS[-1]} clients", rate, "reports/s"),
        Row("decoding, HTTP and answering, a study", 1e3 * mean.prepare_seconds, "ms"),
        Row(f"the same of {DICOM}", 1e3 * dicom.prepare_seconds, "ms"),
        Row("encoding, an image", 1e3 * curve.encode_seconds, "ms"),
        *(
            Row(f"a step of {rows:.1f} beams", 1e3 * seconds, "ms")
            for rows, seconds in zip(curve.step_rows, curve.step_seconds, strict=True)
        ),
        Row("steps of a report", mean.steps, "steps"),
        Row("beside processor time, an answer", 1e3 * curve.overhead_seconds, "ms"),
        Row("from its start until it is ready", curve.start_seconds, "s"),
    ]


def run(rounds: int, short: bool) -> list[Row]:
    """Takes the curve, writes it, and checks it; about two minutes a round."""
    seconds, loads = (8.0, LOADS[1:2]) if short else (20.0, LOADS)
    given, rows, checks = jobs(), list[Row](), list[Check]()
    curve, rate = None, 0.0
    with TemporaryDirectory() as name, ExitStack() as stack:
        servers = list[Server]()
        for core in range(max(REPLICAS)):
            server, ready = stack.enter_context(replica(core, Path(name)))
            servers.append(server)
            if curve is None:
                curve, rate = asyncio.run(measured_curve(server, given, seconds / 2))
                curve = replace(curve, start_seconds=ready)
                rows = curve_rows(curve, rate)
            asyncio.run(closed_loop(server.port, _mixture(given), 4, 3.0))
            if len(servers) in REPLICAS:
                checks += [asyncio.run(checked(servers, given, curve, rate, load, rounds, seconds)) for load in loads]
    if curve and not short:
        CURVE.write_text(curve.to_json())
    return [*rows, *(row for check in checks for row in check.rows())]
