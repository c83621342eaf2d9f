"""The bound on the requests of one client."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from app.api import rate_limit
from app.api.rate_limit import RateLimiter, client_of
from tests.app.conftest import client_of as http_client_of
from tests.app.conftest import running

pytestmark = pytest.mark.anyio


def test_token_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst passes at once, then one an interval; who waits as told passes; a quiet client has its burst again."""
    now = 1000.0
    monkeypatch.setattr("app.api.rate_limit.time.monotonic", lambda: now)
    limiter = RateLimiter(per_minute=30, burst=3)
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 0]
    wait = limiter.take("a")
    assert wait == pytest.approx(2.0)
    assert limiter.take("b") == 0
    now += wait
    assert limiter.take("a") == 0
    assert limiter.take("a") > 0
    now += 60
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 0]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many clients those not seen for longest are forgotten."""
    monkeypatch.setattr(rate_limit, "MAX_CLIENTS", 3)
    limiter = RateLimiter(per_minute=1, burst=1)
    for client in "abcd":
        assert limiter.take(client) == 0
    assert limiter.take("d") > 0
    assert limiter.take("a") == 0


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("testclient", "testclient"),
        (None, ""),
    ],
)
def test_client(host: str | None, client: str) -> None:
    """An IPv6 client is its network: it could change its address with every request."""
    assert client_of(host) == client


async def test_over_http(tiny_checkpoint: Path, picture: bytes) -> None:
    """Each key has its own limit: 429 with Retry-After beyond it, for reports only."""
    hashes = ",".join(hashlib.sha256(key).hexdigest() for key in (b"first", b"second"))
    settings = {"api_key_hashes": hashes, "rate_limit_per_minute": 1, "rate_limit_burst": 2}
    async with running(tiny_checkpoint, **settings) as app, http_client_of(app) as client:

        async def post(key: str) -> httpx.Response:
            return await client.post(
                "/v1/report?num_beams=1", files={"image": picture}, headers={"authorization": f"Bearer {key}"}
            )

        assert [(await post("first")).status_code for _ in range(3)] == [200, 200, 429]
        limited = await post("first")
        assert limited.json()["type"] == "rate-limited"
        assert limited.headers["content-type"] == "application/problem+json"
        assert 1 <= int(limited.headers["retry-after"]) <= 60
        assert (await post("second")).status_code == 200
        assert (await post("unknown")).status_code == 401
        model = await client.get("/v1/model", headers={"authorization": "Bearer first"})
        assert model.status_code == 200


async def test_off_by_default(client: httpx.AsyncClient) -> None:
    """Without the setting nobody is limited."""
    for _ in range(30):
        assert (await client.post("/v1/report", content=b"x")).status_code == 415
