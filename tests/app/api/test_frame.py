"""Habits of HTTP that hold at every address: HEAD, Allow, no redirects, one reading of a request."""

from __future__ import annotations

import itertools
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Message, Receive, Scope, Send

from app.api.frame import FrameMiddleware
from app.api.service import Service
from app.report import DISCLAIMER
from tests.app.conftest import client_of, running
from tests.conftest import ROOT

pytestmark = pytest.mark.anyio
PAGES = ("/docs", "/docs/start.js", "/docs/swagger-ui.css", "/web/main.js")
GET = ("/", "/v1/model", "/livez", "/readyz", "/metrics", "/openapi.json", *PAGES)
POST = ("/v1/report", "/v1/preview")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["request_id"] == response.headers["x-request-id"]
    return response.status_code, response.json()["type"]


async def test_routes_are_known(app: FastAPI) -> None:
    """The addresses tried here are all that there are, but for those of single files."""
    found = {context.path for context in iter_route_contexts(app.routes)}
    assert found - {"/docs/{name}", "/web/{name}"} == {*GET, *POST} - {"/docs/swagger-ui.css", "/web/main.js"}


@pytest.mark.parametrize("path", GET)
async def test_head(client: httpx.AsyncClient, path: str) -> None:
    """HEAD is answered as GET is, with the same headers, and without the body."""
    got, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    changing = {"x-request-id"} | ({"content-length"} if path == "/metrics" else set())
    assert {k: v for k, v in head.headers.items() if k not in changing} == {
        k: v for k, v in got.headers.items() if k not in changing
    }
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/nothing", "/docs/nothing.js", "/v1/report"])
async def test_head_of_errors(client: httpx.AsyncClient, path: str) -> None:
    """An error of HEAD has no body, either, and is logged and counted as HEAD."""
    head = await client.head(path)
    assert (head.status_code, head.content) == (405 if path == "/v1/report" else 404, b"")
    assert head.headers["content-type"] == "application/problem+json"
    route = {"/nothing": "unmatched", "/docs/nothing.js": "/docs/{name}"}.get(path, path)
    counted = f'{{method="HEAD",route="{route}",status="{head.status_code}"}}'
    assert counted in (await client.get("/metrics")).text


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", [*GET, *POST])
async def test_methods(client: httpx.AsyncClient, path: str, method: str) -> None:
    """What an address does not take is 405 and names all that it takes."""
    allowed = ["GET", "HEAD"] if path in GET else ["POST"]
    response = await client.request(method, path)
    if method in allowed:
        assert response.status_code != 405
    elif method != "HEAD":
        assert problem(response) == (405, "method-not-allowed")
    if response.status_code == 405:
        assert response.headers["allow"].split(", ") == allowed


def neighbours(path: str) -> set[str]:
    """Addresses beside one that is taken."""
    near = {f"{path}/", f"{path}//", f"/{path}", f"{path}%2F", f"{path}%0A", f"{path}%00", f"{path};x"}
    return near | {f"{path}%20", f"{path}%FF", path.upper() if path.upper() != path else "/X"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", [*GET, *POST])
async def test_no_redirects(client: httpx.AsyncClient, path: str, method: str) -> None:
    """Beside an address there is nothing, and nobody is sent to the host that the client named."""
    headers = {"host": "elsewhere.example", "x-forwarded-proto": "https", "x-forwarded-host": "elsewhere.example"}
    for near in neighbours(path):
        response = await client.request(method, f"http://elsewhere.example{near}", headers=headers, content=b"x")
        assert "location" not in response.headers, near
        assert "elsewhere" not in response.text
        if response.status_code == 405:  # the addresses below /docs are those of one route
            assert near.startswith(("/docs/", "/web/"))
            assert method not in ("GET", "HEAD")
        else:
            assert response.status_code == 404, near
            assert method == "HEAD" or problem(response) == (404, "not-found")


async def test_queries_are_no_addresses(client: httpx.AsyncClient) -> None:
    """What takes no query answers as without one."""
    for path, query in itertools.product(GET, ("", "x", "x=1&x=2", "%FF%00", "a=" + "b" * 8000, "?/", "redirect=//x")):
        assert (await client.get(f"{path}?{query}")).status_code == 200


async def test_encoded_addresses(client: httpx.AsyncClient) -> None:
    """Percent-encoding that says the same is the same address."""
    assert (await client.get("/%6Civez")).json() == {"status": "ok"}
    assert (await client.get("/docs/%73tart.js")).status_code == 200
    for path in ("/docs/..%2Fopenapi.json", "/docs/..%2F..%2Fsettings.py", "/docs/%2Fetc%2Fpasswd", "/docs/"):
        assert problem(await client.get(path)) == (404, "not-found")


async def test_ranges_are_not_asked_for(client: httpx.AsyncClient) -> None:
    """A part of an answer, or one under conditions, is answered whole."""
    for headers in ({"range": "bytes=0-3"}, {"if-none-match": "*"}, {"if-modified-since": "x"}, {"accept": "image/x"}):
        for path in GET:
            assert (await client.get(path, headers=headers)).status_code == 200


async def test_root(client: httpx.AsyncClient) -> None:
    """/ names every route and says what the service is not for, in plain text; so does the page of the docs."""
    response = await client.get("/", headers={"host": "elsewhere.example"})
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert DISCLAIMER in response.text
    page = (ROOT / "docs" / "api.md").read_text()
    listed = [("GET", path) for path in GET if path not in PAGES[1:]] + [("POST", path) for path in POST]
    for method, path in listed:
        assert f"| `{method} {path}` |" in page
        assert path == "/" or any(line.split()[:2] == [method, path] for line in response.text.splitlines())


async def call(scope: dict[str, object], app: FastAPI) -> list[Message]:
    """What an application answers to a scope that no client would make."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    whole: dict[str, object] = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "query_string": b"",
        "headers": [],
        "client": None,
    }
    whole |= {"path": "/livez", "raw_path": b"/livez", "root_path": "", "scheme": "http", "server": ("test", 80)}
    await app({**whole, **scope}, receive, send)
    return sent


@pytest.mark.parametrize("version", ["0.9", "1.2", "2", "2.0", "3.0"])
async def test_other_versions(app: FastAPI, version: str) -> None:
    """Nothing but HTTP/1.0 and 1.1 is spoken: what follows the head could be anything."""
    start, body = await call({"http_version": version}, app)
    assert start["status"] == 400
    assert (b"connection", b"close") in [(name.lower(), value) for name, value in start["headers"]]
    assert b"malformed-request" in body["body"]


async def test_absolute_form(app: FastAPI) -> None:
    """An address sent as to a proxy is the same address (RFC 9112, 3.2.2)."""
    for path in ("http://elsewhere.example/livez", "HTTPS://elsewhere.example:8/livez"):
        start, body = await call({"path": path}, app)
        assert (start["status"], body["body"]) == (200, b'{"status":"ok"}')
    for path, status in (("http://elsewhere.example", 200), ("http:///", 200), ("http://x//livez", 404), ("*", 404)):
        assert (await call({"path": path}, app))[0]["status"] == status


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"gzip", b""])
async def test_two_ends_of_a_body(app: FastAPI, coding: bytes) -> None:
    """A body that ends in two ways is refused, for a proxy may take the other; the connection ends with it."""
    headers = [(b"content-length", b"5"), (b"transfer-encoding", coding)]
    start, body = await call({"method": "POST", "path": "/v1/report", "headers": headers}, app)
    assert start["status"] == 400
    assert (b"connection", b"close") in [(name.lower(), value) for name, value in start["headers"]]
    assert b"malformed-request" in body["body"]


@pytest.mark.parametrize("end", ["", "%0A", "%0a", "%0D", "%85", "%E2%80%A8"])
async def test_no_way_around_the_overload(tiny_checkpoint: Path, picture: bytes, end: str) -> None:
    """A line feed after the address of reports does not lead past the bound on requests."""
    async with running(tiny_checkpoint, max_requests=1) as app, client_of(app) as client:
        service: Service = app.state.service
        async with service.admit():
            response = await client.post(f"/v1/report{end}", files={"image": picture})
            assert problem(response) == ((404, "not-found") if end else (503, "overloaded"))


async def test_other_scopes_pass() -> None:
    """What is not HTTP is let through as it is."""
    seen: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await FrameMiddleware(inner)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]  # not touched
    assert seen == ["lifespan"]
