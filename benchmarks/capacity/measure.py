"""Whether the simulation foretells what the real server does: other clients, Poisson arrivals, and two replicas.

Each replica has one processor of this machine for itself; the client, which also sends each study to the replica with
the fewest outstanding, has another one, or shares theirs. The curve is taken from one replica alone, under clients that
wait for their answer, before anything else is measured. What it is then asked to foretell are Poisson arrivals, at the
very times at which they were sent.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.capacity.arrivals import Times
from benchmarks.capacity.clients import closed_loop
from benchmarks.capacity.costs import CROWD, DICOM, Job, go_first, jobs, loaded, measured_curve, replica
from benchmarks.capacity.curve import Curve, mean_of
from benchmarks.capacity.fleet import Fleet, Outcome
from benchmarks.client import ask
from benchmarks.results import FOLDER, Row
from benchmarks.server import Server

CURVE = FOLDER / "capacity-curve.json"
WAITING = (6, 16, CROWD)  # clients that the curve was not taken with, but the last with longer reports
PACE = 8  # clients by which the machine's pace is told, before each round and after it
LOADS = (0.5, 0.8, 1.2)  # of what the last of these got
REPLICAS = (1, 2)
WITHIN = 20.0  # per cent


@dataclass(frozen=True, slots=True)
class Sent:
    """A study that was sent: when, which, and after how many seconds it was answered (infinite: not with a report)."""

    at: float
    job: int
    seconds: float


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
class Round:
    """The same arrivals sent to servers and simulated."""

    sent: Sequence[Sent]
    outcome: Outcome
    slowness: float = 1.0  # of the machine meanwhile, beside the curve

    @property
    def seconds(self) -> tuple[list[float], list[float]]:
        """Of the studies that were answered: foretold, and measured."""
        foretold = self.outcome.seconds[np.isfinite(self.outcome.seconds)]
        return foretold.tolist(), [one.seconds for one in self.sent if one.seconds < float("inf")]

    @property
    def rates(self) -> tuple[float, float]:
        """Reports a second until the last one: foretold, and measured."""
        arrivals = [one.at for one in self.sent]
        foretold = zip(arrivals, self.outcome.seconds.tolist(), strict=True)
        return _rate(foretold), _rate((one.at, one.seconds) for one in self.sent)


def _rate(studies: Iterator[tuple[float, float]]) -> float:
    done = [at + seconds for at, seconds in studies if seconds < float("inf")]
    return len(done) / max(done)


@dataclass(frozen=True, slots=True)
class Check:
    """One load on so many replicas, round by round."""

    replicas: int
    load: float
    rounds: Sequence[Round]
    client: float  # of a processor

    def rows(self) -> list[Row]:
        """Throughput, median and p99 of all rounds together, and how far off the prediction is; of p99 also the least
        and the greatest over rounds."""
        name = f"{self.replicas} replica{'s' * (self.replicas > 1)} at {self.load:g} of capacity"
        foretold_rate, measured_rate = np.mean([one.rates for one in self.rounds], axis=0).tolist()
        foretold, measured = ([value for one in self.rounds for value in one.seconds[i]] for i in (0, 1))
        p99s = [_off("", _quantile(one.seconds[0], 0.99), _quantile(one.seconds[1], 0.99), "s") for one in self.rounds]
        errors = [row.value for row in p99s if row.value is not None]
        p99 = _off(f"{name}: p99", _quantile(foretold, 0.99), _quantile(measured, 0.99), "s", WITHIN)
        asked = sum(len(one.sent) for one in self.rounds)
        refused = [100 * (1 - len(answered) / asked) for answered in (foretold, measured)]
        slows = [100 * (one.slowness - 1) for one in self.rounds]
        note = f"predicted {refused[0]:.1f}, measured {refused[1]:.1f} %"
        return [
            _off(f"{name}: throughput", foretold_rate, measured_rate, "reports/s", WITHIN),
            _off(f"{name}: p50", _quantile(foretold, 0.5), _quantile(measured, 0.5), "s"),
            replace(p99, spread=(min(errors), max(errors)), note=f"{p99.note} ({_interval(measured)})"),
            Row(f"{name}: refused, prediction off by", abs(refused[0] - refused[1]), "points", note=note),
            Row(f"{name}: longer than by the curve", statistics.mean(slows), "%", spread=(min(slows), max(slows))),
            Row(f"{name}: the client's part of a processor", 100 * self.client, "%"),
        ]


def _quantile(seconds: Sequence[float] | Times, share: float) -> float:
    return float(np.quantile(seconds, share, method="higher"))


def _interval(seconds: Sequence[float]) -> str:
    """Of a p99, with 95 % confidence: the order statistics between which it lies were studies independent."""
    half = 1.96 * (len(seconds) * 0.99 * 0.01) ** 0.5 / len(seconds)
    low, high = (_quantile(seconds, min(1.0, share)) for share in (0.99 - half, 0.99 + half))
    return f"{low:.3g} to {high:.3g}"


def _off(name: str, predicted: float, measured: float, unit: str, goal: float | None = None) -> Row:
    note = f"predicted {predicted:.3g}, measured {measured:.3g} {unit}"
    error = 100 * abs(predicted / measured - 1)
    return Row(f"{name}, prediction off by", error, "%", goal=goal, at_most=True, note=note)


async def slowness(servers: Sequence[Server], given: Sequence[Job], curve: Curve) -> float:
    """How much longer everything takes just now than by the curve: what `PACE` clients of each server should get, over
    what they get. Machines drift, and neighbours cost."""
    found = await asyncio.gather(*(loaded(server, given, PACE, 3.0) for server in servers))
    foretold = closed_loop(curve, PACE, np.random.default_rng(PACE)).rate
    return foretold * len(servers) / sum(one.load.rate for one in found)


async def checked(
    servers: Sequence[Server], given: Sequence[Job], curve: Curve, rate: float, load: float, rounds: int, seconds: float
) -> Check:
    """Loads servers with `load` times `rate` studies a second for each of them, and simulates the same by the curve at
    the pace that clients who wait found before and after."""
    found, client, lasted = [], 0.0, 0.0
    after = await slowness(servers, given, curve)
    for turn in range(rounds):
        before = after
        rng = np.random.default_rng((turn, round(100 * load), len(servers)))
        count = rng.poisson(len(servers) * load * rate * seconds)
        mixed = [number for number, job in enumerate(given) if job.share]
        times, order = np.sort(rng.uniform(0, seconds, count)), rng.choice(mixed, size=count)
        ours, begun = time.process_time(), time.perf_counter()
        sent = await replay(servers, given, times.tolist(), order.tolist())
        client, lasted = client + time.process_time() - ours, lasted + time.perf_counter() - begun
        after = await slowness(servers, given, curve)
        fleet = Fleet(curve.slowed((before + after) / 2), len(servers), rng)
        outcome = fleet.run(np.array([one.at for one in sent]), np.array([one.job for one in sent]))
        found.append(Round(sent, outcome, (before + after) / 2))
    return Check(len(servers), load, found, client / lasted)


async def waited(server: Server, given: Sequence[Job], curve: Curve, seconds: float) -> tuple[list[Row], float]:
    """How far off the curve is for clients that wait, and what the most of them get: reports a second."""
    rows, rate = list[Row](), 0.0
    for clients in WAITING:
        found = (await loaded(server, given, clients, seconds)).load
        foretold = closed_loop(curve, clients, np.random.default_rng(clients))
        rate, name = found.rate, f"{clients} clients that wait"
        rows += [
            _off(f"{name}: throughput", foretold.rate, rate, "reports/s", WITHIN),
            _off(f"{name}: p50", _quantile(foretold.seconds, 0.5), found.percentile(0.5), "s"),
            _off(f"{name}: p99", _quantile(foretold.seconds, 0.99), found.percentile(0.99), "s"),
        ]
    return rows, rate


def curve_rows(curve: Curve, rate: float) -> list[Row]:
    """The curve for reading."""
    mean = mean_of(curve.kinds)
    dicom = next(kind for kind in curve.kinds if kind.name == DICOM)
    return [
        Row(f"one replica, one processor: {CROWD} clients", rate, "reports/s"),
        Row("receiving and answering, a study", 1e3 * mean.serve_seconds, "ms"),
        Row("decoding and preparing, an image", 1e3 * mean.decode_seconds, "ms"),
        Row("the same of a DICOM view", 1e3 * dicom.decode_seconds, "ms"),
        Row("encoding, an image", 1e3 * curve.encode_seconds, "ms"),
        *(
            Row(f"a step of {rows:.1f} beams", 1e3 * seconds, "ms")
            for rows, seconds in zip(curve.step_rows, curve.step_seconds, strict=True)
        ),
        Row("steps of a report", mean.steps, "steps"),
        Row("from its start until it is ready", curve.start_seconds, "s"),
    ]


@contextmanager
def _client() -> Iterator[set[int]]:
    """This process goes first as well; the processors that it may use, which in the end it may use again."""
    ours, group = os.sched_getaffinity(0), Path("/proc/self/autogroup")
    before = group.read_text().split()[-1] if group.exists() else ""
    go_first("self")
    try:
        yield ours
    finally:
        os.sched_setaffinity(0, ours)
        with suppress(OSError):
            group.write_text(before)


def run(rounds: int, short: bool) -> list[Row]:
    """Takes the curve, writes it, and checks it; about three minutes a round."""
    seconds, loads = (8.0, LOADS[1:2]) if short else (25.0, LOADS)
    given, rows, checks = jobs(), list[Row](), list[Check]()
    curve, rate = None, 0.0
    with TemporaryDirectory() as name, ExitStack() as stack:
        cores = stack.enter_context(_client())
        servers = list[Server]()
        for core in range(max(REPLICAS)):
            server, ready = stack.enter_context(replica(core, Path(name)))
            servers.append(server)
            os.sched_setaffinity(0, cores - set(range(len(servers))) or cores)  # this client's
            asyncio.run(loaded(server, given, 8, 3.0))
            if curve is None:
                curve = replace(asyncio.run(measured_curve(server, given, 3.0)), start_seconds=ready)
                foretold, rate = asyncio.run(waited(server, given, curve, 4.0))
                rows = [*curve_rows(curve, rate), *foretold]
            if len(servers) in REPLICAS:
                checks += [asyncio.run(checked(servers, given, curve, rate, load, rounds, seconds)) for load in loads]
    if curve and not short:
        CURVE.write_text(curve.to_json())
    return [*rows, *(row for check in checks for row in check.rows())]
