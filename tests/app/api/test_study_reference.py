"""POST /v1/report with a study of the configured DICOMweb server named instead of sent."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.api import problems
from app.api.service import Service
from tests.app.conftest import client_of, running
from tests.app.dicomweb.stub import SERIES, STUDY, Stub, instance, reply, stub
from tests.app.pictures import phantom, png

pytestmark = pytest.mark.anyio
REFERENCE = {"dicomweb": {"study": STUDY}}


@pytest.fixture(scope="module")
def server() -> Iterator[Stub]:
    with stub() as running:
        yield running


@pytest.fixture(scope="module")
async def connected(tiny_checkpoint: Path, server: Stub, anyio_backend: str) -> AsyncIterator[FastAPI]:
    """An application that has a DICOMweb server."""
    settings: dict[str, Any] = {"dicomweb_url": server.url, "dicomweb_deadline_seconds": 5, "max_image_bytes": 100_000}
    async with running(tiny_checkpoint, **settings) as app:
        yield app


@pytest.fixture
def pacs(server: Stub) -> Iterator[Stub]:
    """The server with one study of three images. What an object is its content says: here PNG files do."""
    for number, view in ((1, "LL"), (2, "PA"), (3, "AP")):
        server.add(instance(number, view=view), png(phantom(shift=number)))
    yield server
    server.objects.clear()
    server.instead.clear()
    server.asked.clear()


@pytest.fixture
async def asking(connected: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(connected) as client:
        yield client


async def test_report(pacs: Stub, asking: httpx.AsyncClient) -> None:
    """The report is that of the images sent, frontal views first."""
    named = await asking.post("/v1/report?num_beams=2", json=REFERENCE)
    assert named.status_code == 200
    files = [("image", png(phantom(shift=number))) for number in (2, 3, 1)]
    sent = await asking.post("/v1/report?num_beams=2", files=files)
    assert named.json()["report"] == sent.json()["report"]
    assert [one["sha256"] for one in named.json()["images"]] == [one["sha256"] for one in sent.json()["images"]]


async def test_series(pacs: Stub, asking: httpx.AsyncClient) -> None:
    """A named series is all that is looked at."""
    pacs.add(instance(9, series="1.2.3.9", uid="1.2.3.9.1"), png(phantom(shift=9)))
    answer = await asking.post("/v1/report", json={"dicomweb": {"study": STUDY, "series": "1.2.3.9"}})
    assert len(answer.json()["images"]) == 1
    answer = await asking.post("/v1/report", json={"dicomweb": {"study": STUDY, "series": SERIES}})
    assert len(answer.json()["images"]) == 3


async def test_at_most_four(pacs: Stub, asking: httpx.AsyncClient, connected: FastAPI) -> None:
    """No more images than a study may have are fetched."""
    for number in range(4, 12):
        pacs.add(instance(number), png(phantom(shift=number)))
    answer = await asking.post("/v1/report", json=REFERENCE)
    service: Service = connected.state.service
    assert len(answer.json()["images"]) == service.max_images
    assert sum("/instances/" in path for path in pacs.asked) == service.max_images


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"1", b"{}", b'{"dicomweb": {}}', b'{"dicomweb": "1.2.3"}',
        b'{"dicomweb": {"study": "1.2.3", "url": "http://127.0.0.1/"}}', b'{"url": "http://127.0.0.1/"}',
        b'{"dicomweb": {"study": "1.2.3/../../../etc"}}', b'{"dicomweb": {"study": "1.2.3\\n"}}',
        b'{"dicomweb": {"study": ""}}', b'{"dicomweb": {"study": "1.02.3"}}', b'{"dicomweb": {"study": 1.2}}',
        b'{"dicomweb": {"study": "1.2", "series": "x"}}', b'{"dicomweb": {"study": "1.' + b"2" * 63 + b'"}}',
        b'{"dicomweb": {"study": "1.2.\xd9\xa3"}}', b"\xff", b"[" * 900,
    ],
)  # fmt: skip
async def test_malformed(pacs: Stub, asking: httpx.AsyncClient, body: bytes) -> None:
    """Anything else than such a reference is refused in words that repeat none of it, and nothing is asked for."""
    answer = await asking.post("/v1/report", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (400, "malformed-request")
    assert "1.02" not in answer.text
    assert "etc" not in answer.text
    assert pacs.asked == []


async def test_long_body(pacs: Stub, asking: httpx.AsyncClient) -> None:
    """A reference is short."""
    body = json.dumps({"dicomweb": {"study": "1." + "2" * 5000}})
    answer = await asking.post("/v1/report", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (413, "payload-too-large")


async def test_not_configured(client: httpx.AsyncClient) -> None:
    """A service without a DICOMweb server says so."""
    answer = await client.post("/v1/report", json=REFERENCE)
    assert (answer.status_code, answer.json()["type"]) == (422, "dicomweb-not-configured")


@pytest.mark.parametrize(
    ("status", "type_"),
    [
        (302, "dicomweb-failed"),
        (401, "dicomweb-failed"),
        (404, "study-not-found"),
        (500, "dicomweb-failed"),
        (503, "dicomweb-busy"),
        (429, "dicomweb-busy"),
        (504, "dicomweb-timeout"),
    ],
)
@pytest.mark.parametrize("place", ["series", instance(2).uid])
async def test_server_away(pacs: Stub, asking: httpx.AsyncClient, place: str, status: int, type_: str) -> None:
    """What the DICOMweb server does wrong is a problem of its own, with a Retry-After where there is one."""
    pacs.instead[place] = lambda handler: reply(handler, status, "text/plain", b"PHANTOM^0001", Retry_After="17")
    answer = await asking.post("/v1/report", json=REFERENCE)
    assert (answer.status_code, answer.json()["type"]) == (problems.TABLE[type_][0], type_)
    assert answer.headers.get("Retry-After") == ("17" if type_ == "dicomweb-busy" else None)
    assert STUDY not in answer.text
    assert "PHANTOM" not in answer.text


async def test_nobody_there(tiny_checkpoint: Path) -> None:
    """A server that is not there is a 502."""
    async with running(tiny_checkpoint, dicomweb_url="http://127.0.0.1:9/dicom-web") as app, client_of(app) as client:
        answer = await client.post("/v1/report", json=REFERENCE)
    assert (answer.status_code, answer.json()["type"]) == (502, "dicomweb-failed")


async def test_no_such_study(pacs: Stub, asking: httpx.AsyncClient) -> None:
    """A study that the server does not have is a 404."""
    answer = await asking.post("/v1/report", json={"dicomweb": {"study": "1.2.9"}})
    assert (answer.status_code, answer.json()["type"]) == (404, "study-not-found")


async def test_no_chest_image(pacs: Stub, asking: httpx.AsyncClient) -> None:
    """A study without chest images is refused with the reason."""
    pacs.objects.clear()
    pacs.add(instance(1, modality="MG"), b"")
    answer = await asking.post("/v1/report", json=REFERENCE)
    assert (answer.status_code, answer.json()["type"]) == (422, "unsupported-modality")
    assert "CR or DX" in answer.json()["detail"]


async def test_too_large(pacs: Stub, asking: httpx.AsyncClient, connected: FastAPI) -> None:
    """An image larger than an uploaded one may be is refused alike, and its bytes are let go."""
    pacs.add(instance(2), bytes(100_001))
    answer = await asking.post("/v1/report", json=REFERENCE)
    assert (answer.status_code, answer.json()["type"]) == (413, "payload-too-large")
    service: Service = connected.state.service
    assert service.held_bytes == 0


async def test_slow(pacs: Stub, tiny_checkpoint: Path) -> None:
    """A server that does not answer in time is a 504."""
    release = threading.Event()
    pacs.instead["metadata"] = lambda handler: reply(handler, 200 if release.wait(20) else 500, "a/b", b"[]")
    settings: dict[str, Any] = {"dicomweb_url": pacs.url, "dicomweb_deadline_seconds": 0.3}
    async with running(tiny_checkpoint, **settings) as app, client_of(app) as client:
        answer = await client.post("/v1/report", json=REFERENCE)
    release.set()
    assert (answer.status_code, answer.json()["type"]) == (504, "dicomweb-timeout")


async def test_what_comes_is_no_image(pacs: Stub, asking: httpx.AsyncClient) -> None:
    """What the server sends is decoded as an upload is, with its problems."""
    pacs.add(instance(2), b"\0" * 1000)
    answer = await asking.post("/v1/report", json=REFERENCE)
    assert 400 <= answer.status_code < 500


async def test_nothing_of_the_study_is_logged(
    pacs: Stub, asking: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither its UIDs nor addresses with them stand in a log, at the level there is."""
    logging.getLogger("httpx").setLevel(logging.ERROR)  # as configure_logging does
    with caplog.at_level(logging.INFO):
        await asking.post("/v1/report", json=REFERENCE)
    assert STUDY not in caplog.text
