"""What the client makes of a server that does not do as it should: an error in our own words, in time and bounded."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from app.dicomweb import client as module
from app.dicomweb.client import DicomWebClient, FoundStudy
from app.dicomweb.errors import (
    DicomWebBusyError,
    DicomWebError,
    DicomWebTimeoutError,
    NoChestImagesError,
    NoSuchStudyError,
    RefusedByServerError,
    StudyTooLargeError,
)
from app.dicomweb.study import FetchLimits, fetch_images, find_images
from app.retry import retry_after
from tests.app.dicomweb.stub import STUDY, Answer, Stub, instance, multipart, reply, stub

LIMITS = FetchLimits(max_images=4, max_image_bytes=1000, max_bytes=1500)
pytestmark = pytest.mark.anyio


@pytest.fixture
def pacs() -> Iterator[Stub]:
    """A server with one study of one image."""
    with stub() as running:
        running.add(instance(1), b"image one")
        yield running


@pytest.fixture
async def client(pacs: Stub) -> AsyncIterator[DicomWebClient]:
    made = DicomWebClient(pacs.url, "Bearer secret")
    yield made
    await made.close()


async def fetch(client: DicomWebClient, study: str = STUDY, limits: FetchLimits = LIMITS) -> list[bytes]:
    chosen = await find_images(client, study, None, limits.max_images)
    return [bytes(file) for file in await fetch_images(client, chosen, limits, lambda piece: None)]


def answering(status: int, kind: str = "text/plain", body: bytes = b"", **headers: str) -> Answer:
    return lambda handler: reply(handler, status, kind, body, **headers)


async def test_fetch(pacs: Stub, client: DicomWebClient) -> None:
    """The images arrive, frontal ones first, whether in a multipart body or as they are."""
    pacs.add(instance(0, view="LL"), b"image two")
    pacs.instead[instance(0).uid] = answering(200, "application/dicom", b"image two")
    assert await fetch(client) == [b"image one", b"image two"]


async def test_authorization(pacs: Stub, client: DicomWebClient) -> None:
    """What is configured is sent."""
    seen: list[str | None] = []

    def look(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers["Authorization"])
        reply(handler, 200, "application/dicom+json", b"[]")

    pacs.instead["series"] = look
    with suppress(NoSuchStudyError):
        await fetch(client)
    assert seen == ["Bearer secret"]


@pytest.mark.parametrize("place", ["series", "metadata", instance(1).uid])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, DicomWebError),
        (307, DicomWebError),
        (400, RefusedByServerError),
        (401, DicomWebError),
        (403, DicomWebError),
        (404, NoSuchStudyError),
        (429, DicomWebBusyError),
        (500, DicomWebError),
        (503, DicomWebBusyError),
        (504, DicomWebTimeoutError),
    ],
)
async def test_statuses(pacs: Stub, client: DicomWebClient, place: str, status: int, error: type[Exception]) -> None:
    """Each is an error; a redirect is never followed, to another host least of all."""
    with stub() as elsewhere:
        target = f"{elsewhere.url}/studies"
        pacs.instead[place] = answering(status, body=b"PHANTOM^0001", Location=target, Retry_After="7")
        with pytest.raises(error) as raised:
            await fetch(client)
        assert elsewhere.asked == []
    assert "PHANTOM" not in str(raised.value)
    if isinstance(raised.value, DicomWebBusyError):
        assert raised.value.retry_after == 7


@pytest.mark.parametrize("place", ["series", "metadata"])
@pytest.mark.parametrize("body", [b"{", b"{}", b"[1]", b"null", b"[" * 100_000, b"\xff", b'{"a": NaN}'])
async def test_no_json(pacs: Stub, client: DicomWebClient, place: str, body: bytes) -> None:
    """What is no list of data sets is an error."""
    pacs.instead[place] = answering(200, "application/dicom+json", body)
    with pytest.raises(DicomWebError):
        await fetch(client)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>"),
        ("multipart/related", b"--edge"),
        ("multipart/related; boundary=" + "x" * 300, b""),
        ("multipart/related; boundary=edge", b"PHANTOM"),
        ("multipart/related; boundary=edge", multipart(b"image")[1][:-10]),
        ("multipart/related; boundary=edge", multipart(b"")[1]),
        ("multipart/related; boundary=edge", multipart(b"image", parts=2)[1]),
        ("application/dicom", b""),
    ],
)
async def test_no_object(pacs: Stub, client: DicomWebClient, kind: str, body: bytes) -> None:
    """What is not one DICOM object, whole, is an error."""
    pacs.instead[instance(1).uid] = answering(200, kind, body)
    with pytest.raises(DicomWebError):
        await fetch(client)


async def test_compressed(pacs: Stub, client: DicomWebClient) -> None:
    """A compressed answer was not asked for, and could be a bomb."""
    body = gzip.compress(bytes(10**6))
    pacs.instead[instance(1).uid] = answering(200, "application/dicom", body, Content_Encoding="gzip")
    with pytest.raises(DicomWebError, match="compressed"):
        await fetch(client)


async def test_image_too_large(pacs: Stub, client: DicomWebClient) -> None:
    """An image is given up as soon as it has more bytes than it may have, also one without an end."""
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.send_header("Content-Type", "application/dicom")
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(10_000))
            sent += 10_000

    pacs.instead[instance(1).uid] = endless
    with pytest.raises(StudyTooLargeError):
        await fetch(client)
    assert sent < 50_000_000


async def test_study_too_large(pacs: Stub, client: DicomWebClient) -> None:
    """So is a study whose images have too many together."""
    for number in range(1, 4):
        pacs.add(instance(number), bytes(600))
    with pytest.raises(StudyTooLargeError):
        await fetch(client)


async def test_listing_too_large(pacs: Stub, client: DicomWebClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is said of a study."""
    monkeypatch.setattr(module, "_MAX_JSON_BYTES", 100)
    with pytest.raises(StudyTooLargeError):
        await fetch(client)


async def test_silence(pacs: Stub, client: DicomWebClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops in the middle is given up."""
    impatient = DicomWebClient(pacs.url)
    impatient._http.timeout = httpx.Timeout(0.3)
    release = threading.Event()

    def stop(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/dicom")
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"some")
        release.wait()

    pacs.instead[instance(1).uid] = stop
    try:
        with pytest.raises(DicomWebTimeoutError):
            await fetch(impatient)
    finally:
        release.set()
        await impatient.close()


async def test_nobody_there() -> None:
    """A server that is not there is an error."""
    lonely = DicomWebClient("http://127.0.0.1:9")
    with pytest.raises(DicomWebError, match="cannot be reached"):
        await fetch(lonely)
    await lonely.close()


async def test_refusing_to_hold(pacs: Stub, client: DicomWebClient) -> None:
    """Whoever holds the bytes may stop the fetching."""

    def full(piece: bytes) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        await fetch_images(client, [instance(1)], LIMITS, full)


async def test_no_images(pacs: Stub, client: DicomWebClient) -> None:
    """A study without chest images is told from one that is not there."""
    pacs.objects.clear()
    pacs.add(instance(1, modality="CT"), b"")
    with pytest.raises(NoChestImagesError):
        await fetch(client)
    with pytest.raises(NoSuchStudyError):
        await fetch(client, "1.2.9")


async def test_headers_of_another_study(pacs: Stub, client: DicomWebClient) -> None:
    """A server that answers with another study's images is not followed there."""
    other = json.dumps([{"0020000D": {"vr": "UI", "Value": ["1.2.9"]}}]).encode()
    pacs.instead["metadata"] = answering(200, "application/dicom+json", other)
    with pytest.raises(NoChestImagesError):
        await fetch(client)


async def test_search_by_pages(pacs: Stub, client: DicomWebClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pages are read; a server without paging, which answers with everything, is not asked for ever."""
    entry = {"0020000D": {"Value": [STUDY]}, "00201208": {"Value": [3]}}
    pacs.instead["studies"] = answering(200, "application/dicom+json", json.dumps([entry] * 100).encode())
    monkeypatch.setattr(module, "_MAX_PAGES", 5)
    assert [one async for one in client.studies("CR", "20260101-")] == [FoundStudy(STUDY, 3)]
    assert len(pacs.asked) == 5
    assert all("StudyDate=20260101-" in one and "ModalitiesInStudy=CR" in one for one in pacs.asked)
    assert [f"offset={100 * page}" in asked for page, asked in enumerate(pacs.asked)] == [True] * 5


@pytest.mark.parametrize(("count", "known"), [(3, 3), ("3", 3), (None, None), ("many", None), (-1, None)])
async def test_counts(pacs: Stub, client: DicomWebClient, count: Any, known: int | None) -> None:
    """A count that is missing, or none, is not known."""
    entry = {"0020000D": {"Value": [STUDY]}, "00201208": {"Value": [count]}}
    pacs.instead["studies"] = answering(200, "application/dicom+json", json.dumps([entry]).encode())
    assert [one async for one in client.studies("CR", None)] == [FoundStudy(STUDY, known)]


@pytest.mark.parametrize(
    ("reasons", "stored"), [([0x0111], True), ([0x0110], False), ([0x0111, 0x0110], False), ([], False)]
)
async def test_store(pacs: Stub, client: DicomWebClient, reasons: list[int], stored: bool) -> None:
    """That an object is there already is success; any other failure is a refusal."""
    failed = {"00081198": {"Value": [{"00081197": {"Value": [reason]}} for reason in reasons]}}
    pacs.instead[STUDY] = answering(409, "application/dicom+json", json.dumps(failed).encode())
    if stored:
        await client.store(STUDY, b"object")
    else:
        with pytest.raises(RefusedByServerError):
            await client.store(STUDY, b"object")


async def test_deadline_cancels(pacs: Stub, client: DicomWebClient) -> None:
    """Given up from outside, the request ends."""

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/dicom")
        handler.send_header("Content-Length", "900")
        handler.end_headers()
        for _ in range(900):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)

    pacs.instead[instance(1).uid] = trickle
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await fetch(client)


def test_retry_after() -> None:
    """Seconds or a date; anything else says nothing."""
    assert retry_after({"retry-after": "12"}) == 12
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (retry_after({"retry-after": soon}) or 0) <= 30
    for nothing in ({}, {"retry-after": "soon"}, {"retry-after": "-1"}, {"retry-after": "١"}):
        assert retry_after(nothing) is None
