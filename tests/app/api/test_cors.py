"""Pages of other origins: off unless a setting names them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.api.service import Service
from app.settings import SettingsError, load_settings
from tests.app.conftest import client_of, running

pytestmark = pytest.mark.anyio
URL = "/v1/report"
VIEWER = "https://viewer.example"
OTHER = "https://other.example"
KEY = {"authorization": "Bearer key"}
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-request-id",
}


@pytest.fixture(scope="module")
async def viewed(tiny_checkpoint: Path, anyio_backend: str) -> AsyncIterator[FastAPI]:
    """A service that asks for keys and takes requests of one origin's pages."""
    hashes = hashlib.sha256(b"key").hexdigest()
    settings = {"api_key_hashes": hashes, "cors_origins": f"{VIEWER}, http://localhost:3000", "max_requests": 1}
    async with running(tiny_checkpoint, **settings) as app:
        yield app


@pytest.fixture
async def page(viewed: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(viewed) as client:
        yield client


def lets(response: httpx.Response, origin: str = VIEWER) -> bool:
    """Whether a browser shows the answer to a page of the origin."""
    assert "origin" in response.headers["vary"].lower()
    return bool(response.headers.get("access-control-allow-origin") == origin)


async def test_off_by_default(client: httpx.AsyncClient) -> None:
    """Without the setting no answer names an origin, and a preflight is a method like any other."""
    for response in (
        await client.get("/livez", headers={"origin": VIEWER}),
        await client.options(URL, headers={"origin": VIEWER, **PREFLIGHT}),
    ):
        assert not [name for name in response.headers if name.startswith("access-control")]
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


async def test_preflight(page: httpx.AsyncClient) -> None:
    """A page may ask for a report with a key; the asking itself needs none, and is logged like any request."""
    response = await page.options(URL, headers={"origin": VIEWER, **PREFLIGHT})
    assert response.status_code == 200
    assert lets(response)
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "authorization" in response.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in response.headers
    assert response.headers["x-request-id"]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "change",
    [
        {"origin": OTHER},
        {"origin": "null"},
        {"origin": f"{VIEWER}.evil.example"},
        {"origin": "http://viewer.example"},
        {"access-control-request-method": "DELETE"},
        {"access-control-request-headers": "cookie"},
    ],
)
async def test_refused_preflight(page: httpx.AsyncClient, change: dict[str, str]) -> None:
    """Other origins, methods and headers get a problem document which only a page of the named origin can read."""
    response = await page.options(URL, headers={"origin": VIEWER, **PREFLIGHT, **change})
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, response.json()["type"]) == (400, "malformed-request")
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert lets(response) is ("origin" not in change)


async def test_every_answer(viewed: FastAPI, page: httpx.AsyncClient, picture: bytes) -> None:
    """Reports, errors, refusals under overload and failures can all be read, with their id and Retry-After."""
    service: Service = viewed.state.service
    origin = {"origin": VIEWER}
    answers = {
        200: await page.post(URL, files={"image": picture}, headers={**origin, **KEY}),
        415: await page.post(URL, files={"image": b"x"}, headers={**origin, **KEY}),
        401: await page.post(URL, files={"image": picture}, headers=origin),
        404: await page.get("/nothing", headers=origin),
        405: await page.get(URL, headers=origin),
    }
    async with service.admit():
        answers[503] = await page.post(URL, files={"image": picture}, headers={**origin, **KEY})
        assert answers[503].headers["retry-after"]
    for status, response in answers.items():
        assert response.status_code == status
        assert lets(response)
        exposed = set(response.headers["access-control-expose-headers"].split(", "))
        assert exposed == {"X-Request-ID", "Retry-After", "X-Model-SHA256"}
    assert not lets(await page.get("/livez", headers={"origin": OTHER}))
    assert not lets(await page.get("/livez"))


async def test_failures(viewed: FastAPI, page: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw can be read by the page, too."""
    monkeypatch.setattr(viewed.state.service.metrics, "exposition", None)
    response = await page.get("/metrics", headers={"origin": VIEWER})
    assert (response.status_code, response.json()["type"]) == (500, "internal-error")
    assert lets(response)
    assert response.headers["x-request-id"] == response.json()["request_id"]


async def test_any_origin(tiny_checkpoint: Path) -> None:
    """* is any origin, knowingly."""
    async with running(tiny_checkpoint, cors_origins="*") as app, client_of(app) as client:
        response = await client.options(URL, headers={"origin": OTHER, **PREFLIGHT})
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, "*")
        assert (await client.get("/no", headers={"origin": OTHER})).headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("", ()),
        (" , ", ()),
        (" * ", ("*",)),
        ("https://Viewer.Example", (VIEWER,)),
        ("https://viewer.example:443,http://viewer.example:80", (VIEWER, "http://viewer.example")),
        (
            "https://viewer.example:80,http://viewer.example:8080",
            ("https://viewer.example:80", "http://viewer.example:8080"),
        ),
        ("http://[::1]:3000, http://[::80]", ("http://[::1]:3000", "http://[::80]")),
        ("chrome-extension://abcdef", ("chrome-extension://abcdef",)),
    ],
)
def test_setting(given: str, origins: tuple[str, ...]) -> None:
    """Origins are kept as browsers write them."""
    assert load_settings(checkpoint="m.pt", cors_origins=given).cors_origins == origins


@pytest.mark.parametrize(
    "given",
    [
        "viewer.example",
        "https://",
        "https://viewer.example/",
        "https://viewer.example/path",
        "https://viewer.example?x",
        "https://user@viewer.example",
        "https://viewer.example:0",
        "https://viewer.example:65536",
        "https://viewer.example:",
        "https://viewer.example:٤٤٣",
        "https://*.example",
        "https://viewer.example,*",
        "https://viewer.example https://other.example",
        "https://vïewer.example",
        "null",
        "//viewer.example",
    ],
)
def test_wrong_setting(given: str) -> None:
    """What is no origin ends the start in one line that names the variable."""
    with pytest.raises(SettingsError, match=r"^XRAY_REPORT_CORS_ORIGINS: .*must be") as raised:
        load_settings(checkpoint="m.pt", cors_origins=given)
    assert "\n" not in str(raised.value)
