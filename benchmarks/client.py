"""A client that costs little beside the server it shares a machine with: prebuilt bytes, one connection a request."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, and the report's text when it is known."""

    method: str
    target: str
    content_type: str = ""
    body: bytes = b""
    expected: str | None = None

    def encoded(self, request_id: str = "") -> bytes:
        """The whole request."""
        head = f"{self.method} {self.target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n"
        if request_id:
            head += f"X-Request-ID: {request_id}\r\n"
        if self.body:
            head += f"Content-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n"
        return head.encode() + b"\r\n" + self.body


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status 0 is nothing."""

    status: int
    seconds: float
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        """The report's text."""
        return str(self.json()["report"]["text"])

    def json(self) -> dict[str, Any]:
        """The whole answer."""
        content: dict[str, Any] = json.loads(self.body)
        return content


async def ask(port: int, request: Request, request_id: str = "", host: str = HOST) -> Answer:
    """Sends a request and reads its answer while sending, as far as its length says; without one the status is 0."""
    started = time.perf_counter()
    with suppress(OSError, EOFError, TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request.encoded(request_id))
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                return Answer(int(lines[0].split()[1]), time.perf_counter() - started, headers, body)
            finally:
                writer.close()
    return Answer(0, time.perf_counter() - started)


async def leave(port: int, request: Request, moment: Awaitable[object]) -> None:
    """Sends a request and goes without its answer once `moment` has come."""
    with suppress(OSError):
        _, writer = await asyncio.open_connection(HOST, port)
        writer.write(request.encoded())
        await moment
        writer.transport.abort()


async def drip(port: int, data: bytes, at_once: int) -> float:
    """Sends `at_once` bytes and then one a second; the seconds until the server closed the connection."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(data[:at_once])
    closed = asyncio.create_task(reader.read())
    with suppress(OSError):
        for i in range(at_once, len(data)):
            if (await asyncio.wait({closed}, timeout=1.0))[0]:
                break
            writer.write(data[i : i + 1])
    with suppress(OSError):
        await closed
    writer.transport.abort()
    return time.perf_counter() - started


async def poisson(rate: float, seconds: float, arrive: Callable[[], Awaitable[None]]) -> None:
    """Open loop: arrivals at random times, `rate` a second, whether or not earlier ones are answered; then waits."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    at = clock()
    async with asyncio.TaskGroup() as arrivals:
        while (at := at + random.expovariate(rate)) < until:
            await asyncio.sleep(max(0.0, at - clock()))
            arrivals.create_task(_awaited(arrive))


async def _awaited(arrive: Callable[[], Awaitable[None]]) -> None:
    await arrive()


def new_id() -> str:
    """A request id."""
    return uuid.uuid4().hex
