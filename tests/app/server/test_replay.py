"""What a lost replica took with it is asked of another one, behind a proxy that gives up as Ray Serve's does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server import replay
from app.server.replay import ReplayMiddleware

JSON = {"content-type": "application/problem+json"}
MIB = 2**20


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PAUSES", (0.0, 0.0))


class Proxy:
    """Serve's proxy as a request sees it: `fates` says what becomes of one try after the other."""

    def __init__(self, *fates: str) -> None:
        self.fates = list(fates)
        self.bodies: list[bytes] = []
        self.ids: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if b"x-request-id" not in headers:  # as Serve's own middleware does it
            scope["headers"].append((b"x-request-id", b"made-by-serve"))
        self.ids.append(dict(scope["headers"])[b"x-request-id"])
        body, more = b"", True
        fate = self.fates.pop(0)
        while more and fate != "lost at once":
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message.get("more_body", False)
        self.bodies.append(body)
        match fate:
            case "lost" | "lost at once":
                return
            case "overloaded" | "model-not-ready" | "internal-error":
                status = 500 if fate == "internal-error" else 503
                await answer(send, status, f'{{"type": "{fate}"}}'.encode(), {**JSON, "retry-after": "7"})
            case "too many wait":
                await answer(send, 503, b"Request dropped", {"content-type": "text/plain", "retry-after": "1"})
            case "given up":
                await answer(send, 503, b"Deployment failed", {"content-type": "text/plain"})
            case _:
                await answer(send, 200, b"report", {"x-request-id": "ours"})


async def answer(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()] + [(b"x-request-id", b"made-by-serve")]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body[:3], "more_body": True})
    await send({"type": "http.response.body", "body": body[3:]})


def client(proxy: ASGIApp, max_body_bytes: int = MIB, max_kept_bytes: int = MIB) -> httpx.AsyncClient:
    app = ReplayMiddleware(proxy, max_body_bytes, max_kept_bytes)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.mark.anyio
@pytest.mark.parametrize("fate", ["lost", "lost at once", "model-not-ready"])
async def test_another_replica(fate: str) -> None:
    """A replica that dies with a request, or is not able, costs its client nothing: the same body, the same id."""
    proxy = Proxy(fate, "fine")
    async with client(proxy) as user:
        got = await user.post("/v1/report", content=b"pixels" * 100)
    assert (got.status_code, got.text) == (200, "report")
    assert proxy.bodies[-1] == b"pixels" * 100
    assert len(set(proxy.ids)) == 1
    assert got.headers.get_list("x-request-id") == ["ours"]


@pytest.mark.anyio
@pytest.mark.parametrize("fate", ["overloaded", "internal-error"])
async def test_answers_are_answers(fate: str) -> None:
    """What a replica answered is not asked again: repeated, overload would feed itself."""
    proxy = Proxy(fate, "fine")
    async with client(proxy) as user:
        got = await user.post("/v1/report", content=b"pixels")
    assert got.json() == {"type": fate}
    assert got.headers["retry-after"] == "7"
    assert proxy.fates == ["fine"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fates", "type_", "after"),
    [
        (["lost"] * 3, "model-not-ready", "5"),
        (["model-not-ready"] * 3, "model-not-ready", "5"),
        (["too many wait"], "overloaded", "1"),
        (["given up"], "model-not-ready", "5"),
    ],
)
async def test_nothing_to_be_had(fates: list[str], type_: str, after: str) -> None:
    """No answer from any replica, and Serve's own refusals, are problem documents that say when to come back."""
    proxy = Proxy(*fates)
    async with client(proxy) as user:
        got = await user.post("/v1/report", content=b"pixels", headers={"X-Request-ID": "mine"})
    assert proxy.fates == []
    assert (got.status_code, got.json()["type"], got.headers["retry-after"]) == (503, type_, after)
    assert got.headers["content-type"] == "application/problem+json"
    assert got.json()["request_id"] == got.headers["x-request-id"] == "mine"
    assert got.headers["x-content-type-options"] == "nosniff"


@pytest.mark.anyio
async def test_what_is_not_kept_is_asked_once() -> None:
    """A request that does not fit beside the others' goes through all the same, and is not repeated."""
    proxy = Proxy("fine", "lost", "fine")
    async with client(proxy, max_kept_bytes=10) as user:
        assert (await user.post("/", content=b"more than ten bytes")).status_code == 200
        assert (await user.post("/", content=b"more than ten bytes")).status_code == 503
    assert proxy.fates == ["fine"]


async def through(middleware: ReplayMiddleware, receive: Callable[[], Any]) -> list[Message]:
    """Messages that the client gets."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await middleware({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)
    return sent


@pytest.mark.anyio
async def test_room_is_given_back() -> None:
    """However requests end, nothing of them stays kept."""
    middleware = ReplayMiddleware(Proxy("fine", "lost", "fine", "lost", "lost", "lost"), MIB, 10)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"ten bytes."}

    for _ in range(3):
        assert await through(middleware, receive)
    assert middleware.keep(10)


@pytest.mark.anyio
async def test_who_left_is_not_asked_for() -> None:
    """A request whose client is gone is not repeated."""
    proxy = Proxy("lost", "fine")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    assert await through(ReplayMiddleware(proxy, MIB, MIB), receive) == []
    assert proxy.fates == ["fine"]


@pytest.mark.anyio
async def test_endless_bodies_are_not_read() -> None:
    """No more is read than a body may have and a chunk, though the proxy asks for as long as there is something."""
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 10
        return {"type": "http.request", "body": b"ten bytes.", "more_body": True}

    middleware = ReplayMiddleware(Proxy("fine"), 95, MIB)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await through(middleware, receive)
    assert read == 100
