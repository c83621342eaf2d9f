"""What a server is put under: clients that wait for each other, or arrivals that wait for nobody."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from benchmarks.client import Answer, Request, ask, poisson


@dataclass(slots=True)
class Load:
    """What came of one load: answers, and the time over which they came."""

    answers: list[Answer]
    seconds: float

    def good(self, within: float = float("inf")) -> list[float]:
        """Seconds of the reports that came in time."""
        return [one.seconds for one in self.answers if one.status == 200 and one.seconds <= within]

    @property
    def rate(self) -> float:
        """Reports a second."""
        return len(self.good()) / self.seconds

    def keeps(self, limit: float) -> bool:
        """Whether 99 of 100 got their report within the limit."""
        return len(self.good(limit)) >= 0.99 * len(self.answers)

    def percentile(self, share: float) -> float:
        """Seconds of the reports."""
        return float(np.quantile(self.good() or [float("inf")], share))


async def closed_loop(port: int, requests: Iterator[Request], clients: int, seconds: float) -> Load:
    """Clients that send the next request when they have their answer."""
    answers: list[Answer] = []
    started = time.perf_counter()

    async def client() -> None:
        while time.perf_counter() - started < seconds:
            answers.append(await ask(port, next(requests)))

    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(answers, time.perf_counter() - started)


def many_clients(port: int, request: Request, clients: int, seconds: float, processes: int) -> Load:
    """As `closed_loop`, of one request, in several processes: for servers that outrun one. `clients` are shared out as
    equally as they go."""
    shares = [clients // processes + (i < clients % processes) for i in range(min(clients, processes))]
    with ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(abs, shares))  # so that all have started
        loads = list(pool.map(_client_process, *zip(*((port, request, own, seconds) for own in shares), strict=True)))
    return Load([answer for load in loads for answer in load.answers], max(load.seconds for load in loads))


def _client_process(port: int, request: Request, clients: int, seconds: float) -> Load:
    return asyncio.run(closed_loop(port, itertools.repeat(request), clients, seconds))


async def open_loop(port: int, requests: Iterator[Request], rate: float, seconds: float) -> Load:
    """Poisson arrivals, `rate` a second. The time runs until the last answer."""
    answers: list[Answer] = []

    async def arrive() -> None:
        answers.append(await ask(port, next(requests)))

    started = time.perf_counter()
    await poisson(rate, seconds, arrive)
    return Load(answers, time.perf_counter() - started)
