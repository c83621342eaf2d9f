"""The fault runner's own judgement: what counts as lost, refused or wrong, and what its client notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.client import Answer, Request, ask, drip, poisson
from benchmarks.faults.overload import Overload, Pace
from benchmarks.faults.phases import Phase
from benchmarks.faults.rows import overload_rows
from benchmarks.faults.soak import Soak

pytestmark = pytest.mark.anyio
REQUEST = Request("POST", "/v1/report", "image/png", b"image", expected="No finding.")


def answer(status: int, text: str = "") -> Answer:
    return Answer(status, 0.1, {}, json.dumps({"report": {"text": text}}).encode())


def test_count() -> None:
    """Another text than the known one is harm, a 503 a refusal, silence a loss."""
    phase = Phase("x", 1.0, 1.0, 0.0)
    for given in (answer(200, "No finding."), answer(200, "Effusion."), answer(500), answer(503), answer(0)):
        phase.count(REQUEST, given)
    assert (phase.sent, phase.right, phase.harmed, phase.refused, phase.lost) == (5, 1, 2, 1, 1)


def test_thirds() -> None:
    """The last third is compared with the one before; the first warms."""
    soak = Soak(Phase("x", 1.0, 1.0, 0.0), memory=[9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert (soak.third(1), soak.third(2)) == (2.0, 5.0)


def test_goodput() -> None:
    """Overload is compared with the peak before and after it, and with what the server then did in the same time of a
    processor."""
    run = Overload(Pace(30.0, 1.0), 10.0, after=Pace(20.0, 0.5), processors=0.5, done_in_time=200)
    assert run.goodput == pytest.approx(20 / 25)
    assert run.goodput_per_processor == pytest.approx(40 / 35)
    assert {"3x: goodput of peak"} <= {row.name for row in overload_rows(run) if row.met is False}


@asynccontextmanager
async def saying(said: bytes, after: float = 0.0) -> AsyncIterator[int]:
    """A server that says this whatever it is sent, `after` seconds, and closes; its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await asyncio.sleep(after)
        writer.write(said)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 503 x\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\n{}", 503),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", 0),
        (b"HTTP/1.1 200", 0),
        (b"", 0),
    ],
)
async def test_ask(said: bytes, status: int) -> None:
    """An answer that is cut short is none."""
    async with saying(said) as port:
        given = await ask(port, REQUEST)
    assert given.status == status
    assert given.headers.get("retry-after") == ("7" if status else None)


async def test_drip() -> None:
    """A slow client notices when it is closed."""
    async with saying(b"", after=0.3) as port:
        assert 0.2 < await drip(port, bytes(1000), 1) < 3.0


async def test_poisson() -> None:
    """Arrivals do not wait for one another."""
    arrived = 0

    async def arrive() -> None:
        nonlocal arrived
        arrived += 1
        await asyncio.sleep(0.5)

    await poisson(100.0, 0.5, arrive)
    assert 20 < arrived < 100
