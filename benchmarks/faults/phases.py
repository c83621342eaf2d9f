"""Steady load with one kind of fault at a time, and what became of the good requests."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.client import Answer, Request, ask, drip, leave, poisson
from benchmarks.server import Server

SLOW_CLIENTS = 100
RECEIVE_DEADLINE_SECONDS = 8.0


@dataclass(slots=True)
class Phase:
    """The good requests of a phase. `lost` got no answer, `refused` a 503, `late` a 504, `harmed` another
    answer than the right one."""

    name: str
    rate: float
    seconds: float
    memory_before: float
    sent: int = 0
    right: int = 0
    lost: int = 0
    refused: int = 0
    late: int = 0
    harmed: int = 0
    faults: int = 0
    unexpected: int = 0  # faults that were not met as they should
    memory_after: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def count(self, request: Request, answer: Answer) -> None:
        """Compares with the text known."""
        self.sent += 1
        if answer.status == 200 and answer.text == request.expected:
            self.right += 1
            self.latencies.append(answer.seconds)
        elif answer.status == 0:
            self.lost += 1
        elif answer.status == 503:
            self.refused += 1
        elif answer.status == 504:
            self.late += 1
        else:
            self.harmed += 1

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.latencies) if self.latencies else 0.0


@dataclass(slots=True)
class Bench:
    """The server under load, what is sent, and how much of it a second."""

    server: Server
    good: list[Request]
    bad: list[Request]
    rate: float
    seconds: float
    at_bounds: list[tuple[Request, int]] = field(default_factory=list)

    async def run(self, name: str, fault: Fault | None = None, turn: Turn | None = None) -> Phase:
        """Steady load; `fault` runs beside it, `turn` replaces some of the arrivals and says whether it did."""
        server = self.server
        phase = Phase(name, self.rate, self.seconds, server.memory())

        async def arrive() -> None:
            if turn is not None and await turn(self, phase):
                return
            request = random.choice(self.good)
            phase.count(request, await ask(server.port, request))

        async with asyncio.TaskGroup() as beside:
            if fault is not None:
                beside.create_task(fault(self, phase))
            await poisson(self.rate, self.seconds, arrive)
        phase.memory_after = server.memory()
        return phase


Fault = Callable[[Bench, Phase], Coroutine[None, None, None]]
Turn = Callable[[Bench, Phase], Coroutine[None, None, bool]]


async def kill_workers(bench: Bench, phase: Phase) -> None:
    """Kills a decode worker every 1.5 s."""
    until = time.monotonic() + bench.seconds
    while time.monotonic() < until:
        if workers := bench.server.workers:
            with suppress(ProcessLookupError):
                os.kill(random.choice(workers), signal.SIGKILL)
                phase.faults += 1
        await asyncio.sleep(1.5)


async def some_leave(bench: Bench, phase: Phase) -> bool:
    """Three clients in ten go at a random moment."""
    if random.random() >= 0.3:
        return False
    phase.faults += 1
    await leave(bench.server.port, random.choice(bench.good), asyncio.sleep(random.uniform(0.0, 1.0)))
    return True


async def some_are_bad(bench: Bench, phase: Phase) -> bool:
    """One request in eight deserves a 4xx."""
    if random.random() >= 1 / 8:
        return False
    phase.faults += 1
    answer = await ask(bench.server.port, random.choice(bench.bad))
    phase.unexpected += not (400 <= answer.status < 500 or answer.status == 503)
    return True


async def some_go_to_the_bounds(bench: Bench, phase: Phase) -> bool:
    """One request in eight has an option at a bound of its range, or beyond it, and is answered as it deserves."""
    if random.random() >= 1 / 8:
        return False
    phase.faults += 1
    request, status = random.choice(bench.at_bounds)
    answer = await ask(bench.server.port, request)
    phase.unexpected += answer.status not in (status, 503)
    return True


async def slow_clients(bench: Bench, phase: Phase) -> None:
    """A hundred clients send one byte a second, half of them in the head, half in the body; each must be closed."""
    request = random.choice(bench.good).encoded()
    head = request.index(b"\r\n\r\n") + 4
    starts = [1] * (SLOW_CLIENTS // 2) + [head + 1] * (SLOW_CLIENTS // 2)
    closed = await asyncio.gather(*(drip(bench.server.port, request, start) for start in starts))
    phase.faults += len(closed)
    # Lingering after the answer takes up to two seconds more.
    phase.unexpected += sum(seconds > RECEIVE_DEADLINE_SECONDS + 3.0 for seconds in closed)


def full_disk(folder: Path) -> Fault:
    """The file system that takes temporary files and the log is full."""

    async def fill(bench: Bench, phase: Phase) -> None:
        ballast = folder / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                phase.faults = 1
                file.write(bytes(4096))
        await asyncio.sleep(bench.seconds)
        ballast.unlink()

    return fill


async def terminated(bench: Bench) -> tuple[Phase, int]:
    """SIGTERM under load. Clients come until /readyz fails, as behind a balancer; the exit code besides."""
    server = bench.server
    phase = Phase("SIGTERM", bench.rate, 0.0, server.memory(), faults=1)
    started = time.monotonic()

    async def arrive() -> None:
        request = random.choice(bench.good)
        phase.count(request, await ask(server.port, request))

    async with asyncio.TaskGroup() as clients:
        ready, deadline = True, time.monotonic() + 30.0
        while ready and time.monotonic() < deadline:
            clients.create_task(arrive())
            await asyncio.sleep(random.expovariate(bench.rate))
            if time.monotonic() - started > 3.0 and not phase.seconds:
                phase.memory_after = server.memory()
                server.process.terminate()
                phase.seconds = time.monotonic() - started
            ready = (await ask(server.port, Request("GET", "/readyz"))).status == 200
    return phase, await asyncio.to_thread(server.process.wait, 60.0)
