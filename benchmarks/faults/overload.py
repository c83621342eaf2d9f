"""Three times the load the server can take: how much still gets done, and what those who are refused are told.

Clients have a process of their own, this one, but share the machine's processors with the server: rows tell how much of
them each had.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from dataclasses import dataclass, field

from benchmarks.client import Answer, Request, ask, new_id, poisson
from benchmarks.server import Server


@dataclass(frozen=True, slots=True, order=True)
class Pace:
    """Reports a second, and how many processors the server had the time of: less when others use the machine."""

    reports: float
    processors: float


async def capacity(server: Server, good: list[Request], seconds: float, rounds: int, clients: int = 24) -> Pace:
    """With `clients` that ask again at once, the median of `rounds` of so many `seconds`."""

    async def busy(until: float) -> int:
        done = 0
        while time.monotonic() < until:
            answer = await ask(server.port, random.choice(good))
            done += answer.status == 200 and time.monotonic() < until
        return done

    async def round_() -> Pace:
        until, before = time.monotonic() + seconds, server.processor_seconds()
        done = sum(await asyncio.gather(*(busy(until) for _ in range(clients))))
        return Pace(done / seconds, (server.processor_seconds() - before) / seconds)

    return statistics.median_low([await round_() for _ in range(rounds)])


@dataclass(slots=True)
class Overload:
    """What became of the newcomers, and of those who were refused and came back when told."""

    before: Pace
    seconds: float
    after: Pace = Pace(0.0, 0.0)
    processors: float = 0.0
    client_processors: float = 0.0
    sent: int = 0
    right: int = 0
    wrong: int = 0
    other: list[int] = field(default_factory=list)  # statuses neither 200 nor 503 with Retry-After
    done_in_time: int = 0  # reports given while the load lasted
    refused_seconds: list[float] = field(default_factory=list)  # from connecting to the whole answer
    refused_inside: list[float] = field(default_factory=list)  # as the server's log has them, from a request's head
    told_seconds: list[int] = field(default_factory=list)
    came_back: int = 0
    succeeded: int = 0

    @property
    def goodput(self) -> float:
        """Reports a second while the load lasted, of the peak measured before and after."""
        return self.done_in_time / self.seconds / statistics.mean([self.before.reports, self.after.reports])

    @property
    def goodput_per_processor(self) -> float:
        """The same for the processor time the server had, of which others on the machine leave it more or less."""
        peak = statistics.mean([pace.reports / pace.processors for pace in (self.before, self.after)])
        return self.done_in_time / self.seconds / self.processors / peak


async def overload(server: Server, good: list[Request], seconds: float, round_seconds: float) -> Overload:
    """Newcomers at three times the capacity for `seconds`; whoever is refused obeys Retry-After once, with the same id.

    The capacity is measured before and, when the last has come back, again.
    """
    result = Overload(await capacity(server, good, round_seconds, rounds=3), seconds)
    ends = time.monotonic() + seconds

    def count(request: Request, answer: Answer) -> bool:
        right = answer.status == 200 and answer.text == request.expected
        result.right += right
        result.wrong += answer.status == 200 and not right
        result.done_in_time += right and time.monotonic() < ends
        return right

    async def arrive() -> None:
        request, request_id = random.choice(good), new_id()
        result.sent += 1
        answer = await ask(server.port, request, request_id)
        if count(request, answer):
            return
        if answer.status != 503 or "retry-after" not in answer.headers:
            result.other.append(answer.status)
            return
        wait = int(answer.headers["retry-after"])
        result.refused_seconds.append(answer.seconds)
        result.told_seconds.append(wait)
        await asyncio.sleep(wait)
        answer = await ask(server.port, request, request_id)
        result.came_back += 1
        result.succeeded += count(request, answer)

    async def watch() -> None:
        before, ours = server.processor_seconds(), time.process_time()
        await asyncio.sleep(seconds)
        result.processors = (server.processor_seconds() - before) / seconds
        result.client_processors = (time.process_time() - ours) / seconds

    await asyncio.gather(watch(), poisson(3 * result.before.reports, seconds, arrive))
    result.refused_inside = server.refusals()
    result.after = await capacity(server, good, round_seconds, rounds=3)
    return result
