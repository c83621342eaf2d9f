"""The service on Ray Serve, three nodes on this machine: what is lost, who is let in, and that answers are the same.

With `--long`, and where ray is installed: a cluster takes a minute to start. Replicas and clients share the processors.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.inference.checkpoint import load_checkpoint, sha256_path
from benchmarks.server import free_port
from tests.app.checkpoints import altered
from tests.app.faulty import FAULT_FILE
from tests.app.inference.test_checkpoint import with_manifest
from tests.app.pictures import phantom, png
from tests.app.running_server import serving
from tests.app.server.ray_cluster import TOKEN, Clients, Cluster, cluster, configuration
from tests.app.server.ray_ports import listening, refuses

RECOVERY_SECONDS = 30.0
FILM = png(phantom())
IMAGE: dict[str, Any] = {"content": FILM, "headers": {"Content-Type": "image/png"}}


@pytest.fixture(scope="module", autouse=True)
def _long(long: bool) -> None:
    if find_spec("ray") is None:
        pytest.skip("ray is not installed (the extra ray)")
    if not long:
        pytest.skip("a Ray cluster takes a minute to start: --long")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def three(_long: None, port: int, tiny_checkpoint: Path) -> Iterator[Cluster]:
    """Three nodes, the dashboard on the first, and the service on two."""
    with cluster(3, DASHBOARD="1") as nodes:
        nodes.deploy(configuration(tiny_checkpoint, port, 2))
        nodes.until(2)
        yield nodes


@pytest.fixture
def nodes(three: Cluster, port: int, tiny_checkpoint: Path) -> Cluster:
    """The same, back at two replicas of the tiny checkpoint."""
    three.deploy(configuration(tiny_checkpoint, port, 2))
    three.until(2)
    return three


def pids(nodes: Cluster) -> set[int]:
    return {one["pid"] for one in nodes.replicas()}


ASKED: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/report", IMAGE),
    ("POST", "/v1/report?num_beams=4&include=alternatives,tokens", IMAGE),
    ("POST", "/v1/report", {"files": {"image": ("a.png", FILM, "image/png")}}),
    ("POST", "/v1/report", {**IMAGE, "content": b"no image"}),
    ("POST", "/v1/report?num_beams=9", IMAGE),
    ("POST", "/v1/report", {**IMAGE, "headers": {**IMAGE["headers"], "Accept": "text/plain"}}),
    ("GET", "/v1/model", {}),
    ("GET", "/readyz", {}),
    ("GET", "/openapi.json", {}),
    ("GET", "/nowhere", {}),
    ("DELETE", "/v1/report", {}),
]
OF_THE_ANSWER = ("id", "created", "timing", "request_id")
OF_THE_SERVER = ("date", "server", "content-length", "x-request-id", "connection")


def essence(got: httpx.Response) -> tuple[int, Any, dict[str, str]]:
    """An answer without what is another's at every request."""
    content: Any = got.text
    if "json" in got.headers["content-type"]:
        content = {name: value for name, value in got.json().items() if name not in OF_THE_ANSWER}
    return got.status_code, content, {n: value for n, value in got.headers.items() if n not in OF_THE_SERVER}


def test_answers_are_the_plain_servers(nodes: Cluster, port: int, tiny_checkpoint: Path) -> None:
    """Reports, problems and documents are the same, headers included, and an id is there once."""
    ray = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
    with serving(tiny_checkpoint, threads=1) as server, server.client() as plain, ray:
        for method, path, given in ASKED:
            answers = [client.request(method, path, **given) for client in (plain, ray)]
            assert essence(answers[0]) == essence(answers[1]), (method, path)
            assert len(answers[1].headers.get_list("x-request-id")) == 1


def test_ports(nodes: Cluster, port: int) -> None:
    """Every port is on loopback, and none but Serve's for the API, which needs none, answers without the token."""
    found = listening(nodes.process.pid)
    assert len(found) > 10
    assert {name for address, name in found if not address.startswith(("127.", "[::ffff:127."))} == set()
    assert {address for address, _ in found if not refuses(address)} == {f"127.0.0.1:{port}"}
    dashboard = nodes.said["dashboard"]
    assert dashboard in {address for address, _ in found}
    for token, status in (("wrong" * 8, 403), (TOKEN, 200)):
        got = httpx.get(
            f"http://{dashboard}/api/serve/applications/",
            headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False,
        )  # fmt: skip
        assert got.status_code == status


def test_another_checkpoint(nodes: Cluster, port: int, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """A new checkpoint is rolled out under load without a request lost, and `/v1/model` says what answers say."""
    new = altered(tiny_checkpoint, tmp_path / "new.pt", version="1")
    before = pids(nodes)
    with Clients(port, FILM) as clients:
        clients.wait(5)
        nodes.deploy(configuration(new, port, 2))
        nodes.until(2, lambda replica: replica["pid"] not in before)
        clients.wait(5)
    assert clients.lost == []
    models = [answer.content["model"] for answer in clients.answers]
    assert (models[0]["version"], models[-1]["version"]) == ("0", "1")
    said = httpx.get(f"http://127.0.0.1:{port}/v1/model", timeout=60, trust_env=False).json()
    assert {name: said[name] for name in models[-1]} == models[-1]


def test_a_checkpoint_that_fails_its_self_test(
    nodes: Cluster, port: int, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """It never serves, Serve says why, and the replicas of before go on, also once the old file is deployed again."""
    expected = load_checkpoint(tiny_checkpoint).manifest.self_test
    spoilt = Path(shutil.copy(tiny_checkpoint, tmp_path / "spoilt.pt"))
    logits = {**expected, "view_logits": [9.0 for _ in expected["view_logits"]]}
    sha256_path(spoilt).write_text(f"{with_manifest(spoilt, self_test=logits)}  {spoilt.name}\n")
    before = pids(nodes)
    with Clients(port, FILM) as clients:
        nodes.deploy(configuration(spoilt, port, 2))
        nodes.until_status("DEPLOY_FAILED")
        said = nodes.message()
        clients.wait(5)
        nodes.deploy(configuration(tiny_checkpoint, port, 2))
        nodes.until(2)
        clients.wait(5)
    assert "self-test: view_logits differ" in said
    assert clients.lost == []
    assert len({answer.content["model"]["sha256"] for answer in clients.answers}) == 1
    assert pids(nodes) == before


def test_scaling(nodes: Cluster, port: int, tiny_checkpoint: Path) -> None:
    """One replica, two under load, one again: by what the engines have to do, and without a request lost."""
    config = configuration(tiny_checkpoint, port, None)
    scaling = config["applications"][0]["deployments"][0]["autoscaling_config"]
    scaling |= {"max_replicas": 2, "upscale_delay_s": 1, "downscale_delay_s": 5, "look_back_period_s": 5}
    # The tiny network is idle most of the time.
    scaling["policy"]["policy_kwargs"] = {"queue_depth": 1, "active_rows": 1}
    nodes.deploy(config)
    nodes.until(1)
    with Clients(port, FILM, 6) as many:
        nodes.until(2)
        many.wait(5)
    with Clients(port, FILM, 1, pause=1.0) as few:
        nodes.until(1)
        few.wait(3)
    assert many.lost + few.lost == []


def test_a_replica_killed(nodes: Cluster, port: int) -> None:
    """What it had under way is answered by the other one, and soon there are two again."""
    victim = nodes.replicas()[0]["pid"]
    with Clients(port, FILM) as clients:
        clients.wait(5)
        os.kill(victim, signal.SIGKILL)
        time.sleep(1)  # for Serve to see it
        nodes.until(2, lambda replica: replica["pid"] != victim)
        clients.wait(5)
    assert clients.lost == []
    assert clients.longest_pause < RECOVERY_SECONDS


def test_an_engine_that_hangs(nodes: Cluster, port: int, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Its replica's watchdog ends the process, Serve starts another, and what waited there is answered all the same."""
    config = configuration(tiny_checkpoint, port, 2)
    (application,) = config["applications"]
    application["import_path"] = "tests.app.server.ray_faulty:application"
    variables = {FAULT_FILE: str(tmp_path / "fault"), "XRAY_REPORT_STALL_SECONDS": "1", "XRAY_REPORT_HANG_SECONDS": "3"}
    application["runtime_env"]["env_vars"] |= variables
    before = pids(nodes)
    nodes.deploy(config)
    nodes.until(2, lambda replica: replica["pid"] not in before)
    victim = nodes.replicas()[0]["pid"]
    with Clients(port, FILM) as clients:
        clients.wait(5)
        (tmp_path / f"fault.{victim}").write_text("hang")
        nodes.until(2, lambda replica: replica["pid"] != victim)
        clients.wait(5)
    assert clients.lost == []


def test_a_node_gone(nodes: Cluster, port: int) -> None:
    """A node with a replica dies, its processes with it: nothing is lost, and another node takes the replica."""
    (away, *_) = [one["node_id"] for one in nodes.replicas() if one["node_id"] != nodes.said["nodes"][0]]
    with Clients(port, FILM) as clients:
        clients.wait(5)
        nodes.do(f"end {nodes.said['nodes'].index(away)}")
        nodes.until(2, lambda replica: replica["node_id"] != away)
        clients.wait(5)
    assert clients.lost == []
    assert clients.longest_pause < RECOVERY_SECONDS


def test_a_silent_node(nodes: Cluster, port: int) -> None:
    """A node says nothing any more, though its replica does: nothing is lost, and another node takes the replica."""
    nodes.said["nodes"].append(nodes.do("add"))
    (away, *_) = [one["node_id"] for one in nodes.replicas() if one["node_id"] != nodes.said["nodes"][0]]
    silent = nodes.said["nodes"].index(away)
    with Clients(port, FILM) as clients:
        clients.wait(5)
        nodes.do(f"silence {silent}")
        nodes.until(2, lambda replica: replica["node_id"] != away)
        clients.wait(5)
    nodes.do(f"end {silent}")
    assert clients.lost == []
    assert clients.longest_pause < RECOVERY_SECONDS
