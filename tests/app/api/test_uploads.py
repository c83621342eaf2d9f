"""Bodies are bounded before they are held, and malformed ones are told apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tests.app.conftest import client_of, running
from tests.app.pictures import jpeg, phantom

pytestmark = pytest.mark.anyio
URL = "/v1/report"
B = b"boundary"
FORM = {"content-type": "multipart/form-data; boundary=boundary"}


@pytest.fixture(scope="module")
async def small(tiny_checkpoint: Path, anyio_backend: str) -> AsyncIterator[FastAPI]:
    async with running(tiny_checkpoint, max_body_bytes=50_000, max_image_bytes=20_000, max_images=3) as app:
        yield app


@pytest.fixture
async def tight(small: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service with small limits."""
    async with client_of(small) as client:
        yield client


def part(name: bytes, value: bytes, filename: bytes | None = None) -> bytes:
    file = b'; filename="' + filename + b'"' if filename is not None else b""
    return (
        b"--" + B + b'\r\nContent-Disposition: form-data; name="' + name + b'"' + file + b"\r\n\r\n" + value + b"\r\n"
    )


END = b"--" + B + b"--\r\n"


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["type"]


async def test_part_without_filename(tight: httpx.AsyncClient, picture: bytes) -> None:
    """A part named image is an image with or without a file name."""
    for filename in (None, b"x.png", b""):
        body = part(b"image", picture, filename) + part(b"num_beams", b"2") + END
        response = await tight.post(URL, content=body, headers=FORM)
        assert response.status_code == 200
        assert response.json()["options"]["num_beams"] == 2


async def test_chunks_of_any_size(tight: httpx.AsyncClient, picture: bytes) -> None:
    """Where the network cuts the body does not matter."""
    body = part(b"image", picture, b"x") + part(b"num_beams", b"2") + END

    async def slowly(step: int) -> AsyncIterator[bytes]:
        for i in range(0, len(body), step):
            yield body[i : i + step]

    for step in (1, 7, 4096):
        response = await tight.post(URL, content=slowly(step), headers=FORM)
        assert response.status_code == 200
        assert response.json()["options"]["num_beams"] == 2


async def test_body_too_large(tight: httpx.AsyncClient) -> None:
    """A body over the limit is refused by its declared length, or as it arrives, and the connection is given up."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            yield bytes(1000)

    response = await tight.post(URL, content=bytes(50_001), headers={"content-type": "image/png"})
    assert problem(response) == (413, "payload-too-large")
    assert response.headers["connection"] == "close"
    for headers in ({"content-type": "image/png"}, FORM):
        with_body = part(b"image", bytes(10_000)) if headers is FORM else b""

        async def body(start: bytes = with_body) -> AsyncIterator[bytes]:
            yield start
            async for more in endless():
                yield more

        assert problem(await tight.post(URL, content=body(), headers=headers)) == (413, "payload-too-large")


async def test_image_too_large(tight: httpx.AsyncClient, picture: bytes) -> None:
    """One image over the limit is refused although the body is within its own."""
    for content, headers in (
        (bytes(20_001), {"content-type": "image/jpeg"}),
        (part(b"image", picture) + part(b"image", bytes(20_001)) + END, FORM),
    ):
        response = await tight.post(URL, content=content, headers=headers)
        assert problem(response) == (413, "payload-too-large")
        assert "20000 bytes" in response.json()["detail"]


async def test_too_many_images(tight: httpx.AsyncClient, picture: bytes) -> None:
    """More images than a study may have are refused."""
    body = part(b"image", picture, b"x") * 4 + END
    response = await tight.post(URL, content=body, headers=FORM)
    assert problem(response) == (413, "payload-too-large")
    assert "at most 3 images" in response.json()["detail"]


async def test_too_many_or_too_large_fields(tight: httpx.AsyncClient, picture: bytes) -> None:
    """Fields are few and short."""
    for fields in (part(b"num_beams", b"2") * 33, part(b"num_beams", bytes(1025))):
        response = await tight.post(URL, content=fields + part(b"image", picture) + END, headers=FORM)
        assert problem(response) == (413, "payload-too-large")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        END,
        part(b"image", b"x"),  # no last boundary
        part(b"image", b"x")[:-20],
        part(b"num_beams", b"2") + END,  # no image
        part(b"file", b"x", b"x.png") + END,  # a file under another name
        b"--" + B + b"\r\n" + b"X: y\r\n" * 1000 + b"\r\n" + END,
        b"--" + B + b"\r\n" + b"X" * 100_000,
        b"--" + B + b"\r\nno header\r\n\r\nx\r\n" + END,
    ],
)
async def test_malformed(client: httpx.AsyncClient, body: bytes) -> None:
    """A multipart body that cannot be read, or holds no image, is 400."""
    assert problem(await client.post(URL, content=body, headers=FORM)) == (400, "malformed-request")


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 1000])
async def test_bad_boundary(client: httpx.AsyncClient, kind: str) -> None:
    """A boundary that is missing or absurd is 400."""
    assert problem(await client.post(URL, content=b"x", headers={"content-type": kind})) == (400, "malformed-request")


KINDS: list[str | None] = [
    "image/png",
    "image/jpeg",
    "IMAGE/PNG",
    "image/*",
    "image/png; q=1",
    "application/octet-stream",
    "application/dicom",
]
KINDS += ["text/csv", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", ""]
KINDS += ["multipart/mixed; boundary=b", "multipart/related", "nonsense", ";;=", "image/png, image/jpeg", "\xff", None]


def typed(kind: str | None) -> list[tuple[bytes, bytes]]:
    return [] if kind is None else [(b"content-type", kind.encode("latin-1"))]


@pytest.mark.parametrize("kind", KINDS)
async def test_content_says_what_it_is(client: httpx.AsyncClient, picture: bytes, kind: str | None) -> None:
    """A raw body is read if it is an image, whatever type is declared or none; whatever else it is, is 415."""
    quick = {"num_beams": 1, "max_new_tokens": 2}
    for image, format_ in ((picture, "PNG"), (jpeg(phantom()), "JPEG")):
        response = await client.post(URL, content=image, headers=typed(kind), params=quick)
        assert response.status_code == 200
        assert response.json()["images"][0]["format"] == format_
    for other in (
        b"x",
        b"GIF89a",
        b"num_beams=2",
        b'{"image": ""}',
        picture[1:],
        bytes(200) + b"DICM",
        b"\r\n" + picture,
    ):
        response = await client.post(URL, content=other, headers=typed(kind))
        assert problem(response) == (415, "unsupported-media-type")
        assert "multipart/form-data" in response.headers["accept-post"]
    for broken in (picture[:60], jpeg(phantom())[:300]):
        assert problem(await client.post(URL, content=broken, headers=typed(kind))) == (422, "corrupt-image")
    assert problem(await client.post(URL, content=b"", headers=typed(kind))) == (400, "malformed-request")


async def test_compressed_body(client: httpx.AsyncClient, picture: bytes) -> None:
    """A compressed body is refused rather than inflated."""
    headers = {"content-type": "image/png", "content-encoding": "gzip"}
    assert problem(await client.post(URL, content=picture, headers=headers)) == (415, "unsupported-media-type")
