"""Every header that is read, in one line, in several, and in any case."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from starlette.requests import Request

from app.api.headers import joined, single
from app.api.reports import create_report
from tests.app.conftest import client_of, running

pytestmark = pytest.mark.anyio
URL = "/v1/report"
PNG = ("content-type", "image/png")
QUICK = {"num_beams": 1, "max_new_tokens": 2}


async def post(client: httpx.AsyncClient, picture: bytes, *lines: tuple[str, str]) -> httpx.Response:
    return await client.post(URL, content=picture, headers=list(lines), params=QUICK)


def test_joined_and_single() -> None:
    """Lines of a list are one; of what is no list there is one or none."""
    raw = [(b"accept", b"a, b"), (b"x", b"1"), (b"accept", b""), (b"accept", b"c"), (b"x", b"2"), (b"y", b"3")]
    headers = Request({"type": "http", "headers": raw}).headers
    assert joined(headers, "Accept") == "a, b, , c"
    assert (joined(headers, "none"), single(headers, "none")) == ("", "")
    assert (single(headers, "x"), single(headers, "Y")) == ("", "3")


class Entered(Exception):  # noqa: N818  # no error
    """The service was asked for its parts: the Accept header has been read."""


class Doorway:
    settings = SimpleNamespace(api_key_hashes=())

    async def seconds_to_wait(self, client: str) -> float:
        return 0.0

    def working_parts(self) -> None:
        raise Entered


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"text/html", b"application/json"], None),
        ([b"application/json", b"text/html"], None),
        ([b"image/png", b"image/*;q=0.5", b"*/*;q=0.1"], None),
        ([b"APPLICATION/JSON"], None),
        ([b"Text/Plain;Q=0.3", b"image/png"], None),
        ([b"", b"text/*"], None),
        ([b"text/html", b"image/png"], 406),
        ([b"application/json;q=0", b"application/*;q=0", b"text/plain;q=0", b"*/*"], 406),
        ([b"", b"image/png"], 406),
        ([], None),
        ([b""], None),
    ],
)
async def test_accept(lines: list[bytes], status: int | None) -> None:
    """Several Accept lines are one list, whatever their order, number and case."""
    headers = [(b"accept", line) for line in lines]
    app = SimpleNamespace(state=SimpleNamespace(service=Doorway()))  # all that is asked of it
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers, "app": app}
    with pytest.raises(Entered if status is None else Exception) as raised:
        await create_report(Request(scope))
    assert getattr(raised.value, "status", None) == status


async def test_accept_chooses_among_all_lines(client: httpx.AsyncClient, picture: bytes) -> None:
    """The best-liked form is chosen over all lines."""
    lines = (PNG, ("accept", "application/json;q=0.5"), ("Accept", "TEXT/plain"))
    assert (await post(client, picture, *lines)).headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["identity"], 200),
        (["Identity"], 200),
        (["IDENTITY", "identity"], 200),
        (["identity, identity"], 200),
        ([""], 200),
        (["gzip"], 415),
        (["GZIP"], 415),
        (["identity", "gzip"], 415),
        (["gzip", "identity"], 415),
        (["identity, br"], 415),
        (["identity;q=1"], 415),
    ],
)
async def test_content_encoding(client: httpx.AsyncClient, picture: bytes, lines: list[str], status: int) -> None:
    """A body is compressed if any line says so, in any case."""
    response = await post(client, picture, PNG, *(("content-encoding", line) for line in lines))
    assert response.status_code == status
    if status == 415:
        assert response.json()["type"] == "unsupported-media-type"
        assert response.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("kinds", [["image/png", "image/png"], ["image/png", "text/csv"], ["", "multipart/form-data"]])
async def test_two_content_types(client: httpx.AsyncClient, picture: bytes, kinds: list[str]) -> None:
    """Two types are no list: which is meant cannot be told."""
    response = await post(client, picture, *(("content-type", kind) for kind in kinds))
    assert (response.status_code, response.json()["type"]) == (400, "malformed-request")
    assert "Content-Type" in response.json()["detail"]


async def test_content_type_in_any_case(client: httpx.AsyncClient, picture: bytes) -> None:
    """A form is one in any case of letters, and a part has one disposition."""
    part = b'--b\r\ncontent-DISPOSITION: form-data; name="image"\r\n\r\n' + picture + b"\r\n--b--\r\n"
    kind = ("Content-type", "Multipart/FORM-data; Boundary=b")
    assert (await post(client, part, kind)).status_code == 200
    twice = part.replace(b"\r\n\r\n", b'\r\nContent-Disposition: form-data; name="num_beams"\r\n\r\n', 1)
    response = await post(client, twice, kind)
    assert (response.status_code, response.json()["type"]) == (400, "malformed-request")


async def test_two_ids(client: httpx.AsyncClient) -> None:
    """Of two request ids none is kept, though they be equal."""
    for second in ("a", "b"):
        headers = [("x-request-id", "a"), ("x-request-id", second)]
        made = (await client.get("/livez", headers=headers)).headers.get_list("x-request-id")
        assert len(made) == 1
        assert len(made[0]) == 32


async def test_two_keys(tiny_checkpoint: Path) -> None:
    """Of two keys none counts, nor do schemes in other words; its own case and spaces do no harm."""
    hashes = ",".join(hashlib.sha256(key.encode()).hexdigest() for key in ("key", "schlüssel"))
    right, wrong = ("authorization", "Bearer key"), ("authorization", "Bearer other")
    async with running(tiny_checkpoint, api_key_hashes=hashes) as app, client_of(app) as client:

        async def status(*lines: tuple[str, str | bytes]) -> int:
            return (await client.get("/v1/model", headers=list(lines))).status_code  # type: ignore[arg-type]

        for lines in ([right, right], [right, wrong], [wrong, right], [("authorization", "Bearer other, Bearer key")]):
            assert await status(*lines) == 401
        assert await status(right) == 200
        assert await status(("AUTHORIZATION", "BEARER  key ")) == 200
        assert await status(("authorization", b"Bearer schl\xc3\xbcssel")) == 200
