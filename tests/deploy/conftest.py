"""Parts of the tests of what is deployed: servers behind the gateway, and clients that never stop asking."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.client import Answer, Request, ask
from benchmarks.server import PATIENCE_SECONDS
from tests.app.pictures import phantom, png

CLIENTS = 6
# What differs between two answers to one request.
OF_ITS_OWN = ("id", "created", "timing")


@pytest.fixture(scope="session")
def studies() -> list[Request]:
    """Requests that get different reports, in different ways."""
    options = ("num_beams=1", "num_beams=3&min_new_tokens=20", "num_beams=4&length_penalty=0.8")
    pictures = [png(phantom(shift=i)) for i in range(3)]
    return [Request("POST", f"/v1/report?{one}", "image/png", picture) for picture in pictures for one in options]


@dataclass(frozen=True)
class Substance:
    """A report without what is of the single answer; of who else was in the batch, fractions keep a trace."""

    report: dict[str, Any]
    fractions: list[float]

    @classmethod
    def of(cls, body: bytes) -> Substance:
        report = {name: value for name, value in json.loads(body).items() if name not in OF_ITS_OWN}
        fractions: list[float] = []
        parsed = json.loads(json.dumps(report), parse_float=lambda digits: fractions.append(float(digits)))
        return cls(parsed, fractions)

    def like(self, other: Substance) -> bool:
        return self.report == other.report and self.fractions == pytest.approx(other.fractions, abs=1e-4)


class Clients:
    """Clients that do nothing special: each asks, waits for the answer and asks again."""

    def __init__(self, port: int, requests: Sequence[Request], count: int) -> None:
        self.answers: list[tuple[Request, Answer]] = []
        self._port = port
        self._requests = requests
        self._stopped = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all(count)))
        self._thread.start()

    async def _all(self, count: int) -> None:
        await asyncio.gather(*map(self._one, range(count)))

    async def _one(self, first: int) -> None:
        for turn in itertools.count(first):
            if self._stopped:
                return
            request = self._requests[turn % len(self._requests)]
            self.answers.append((request, await ask(self._port, request)))

    def stop(self) -> None:
        """Their last answers are waited for."""
        self._stopped = True
        self._thread.join()

    def wait_for_more(self, count: int) -> None:
        """Waits for so many further answers."""
        enough = len(self.answers) + count
        self._wait(lambda: len(self.answers) >= enough)

    def wait_until(self, seen: Callable[[Answer], bool]) -> None:
        """Waits for an answer of this kind among those to come."""
        before = len(self.answers)
        self._wait(lambda: any(seen(answer) for _, answer in self.answers[before:]))

    def _wait(self, done: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not done():
            assert time.monotonic() < until, "such answers do not come"
            time.sleep(0.01)


@contextmanager
def asking(port: int, requests: Sequence[Request], clients: int = CLIENTS) -> Iterator[Clients]:
    """Clients at work."""
    asked = Clients(port, requests, clients)
    try:
        yield asked
    finally:
        asked.stop()
