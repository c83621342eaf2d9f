"""A replica of Ray Serve without Ray around it: the application, loaded, watched, and left in order."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace
from typing import Any

import pytest

from app.api.service import FAILURES_IN_A_ROW, Phase
from app.inference.errors import CheckpointError
from app.main import create_app
from tests.app.conftest import client_of
from tests.app.pictures import phantom, png

pytest.importorskip("ray", reason="ray is not installed (the extra ray)")

from app.server.autoscaling import ACTIVE_ROWS, PROCESSOR, QUEUE_DEPTH

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own models use pydantic as it was
    from ray.serve._private import replica as replica_of_serve

    from app.server import ray as server
    from app.server.ray import NotReadyError, Replica

pytestmark = pytest.mark.anyio


class Silent:
    """In place of Ray's gauges."""

    def __init__(self, name: str, description: str) -> None:
        self.values: list[float] = []

    def set(self, value: float) -> None:
        self.values.append(value)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path) -> None:
    """The environment of a replica that was given three processors."""
    monkeypatch.setattr(server, "Gauge", Silent)
    monkeypatch.setattr(server, "configure_logging", lambda level: None)
    resources = type("Context", (), {"get_assigned_resources": lambda self: {"CPU": 3.0}})
    monkeypatch.setattr("ray.get_runtime_context", resources)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    bind = replica_of_serve.add_port_to_grpc_server
    monkeypatch.setattr(replica_of_serve, "add_port_to_grpc_server", bind)  # what a replica puts there is taken back
    for name, value in {"CHECKPOINT": tiny_checkpoint, "DEVICE": "cpu", "DECODE_WORKERS": 1}.items():
        monkeypatch.setenv(f"XRAY_REPORT_{name}", str(value))


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Replica, Any]]:
    """As Serve treats it."""
    replica = Replica(create_app)
    app = await replica.__serve_build_asgi_app__()
    async with app.router.lifespan_context(app):
        await replica.check_health()
        yield replica, app


async def test_life() -> None:
    """It is healthy once it is warm, says what there is to do, answers, and has drained when it is left."""
    async with running() as (replica, app):
        assert app.state.service.settings.threads == 3
        assert await replica.record_autoscaling_stats() == {QUEUE_DEPTH: 0.0, ACTIVE_ROWS: 0.0, PROCESSOR: 0.0}
        async with client_of(app) as client:
            answer = await client.post("/v1/report", content=png(phantom()), headers={"Content-Type": "image/png"})
        assert answer.status_code == 200
    assert app.state.service.phase is Phase.DRAINING
    assert not app.state.service.generator.alive


BUSY_CHILD = """
import time
while time.process_time() < 0.5:
    pass
print("done", flush=True)
input()
"""


async def test_processor_time() -> None:
    """What a decode worker uses counts, as a share of the processors that the replica was given."""
    async with running() as (replica, _):
        await replica.record_autoscaling_stats()
        started = time.monotonic()
        with subprocess.Popen([sys.executable, "-c", BUSY_CHILD], stdin=PIPE, stdout=PIPE) as child:  # noqa: ASYNC220, S603
            assert child.stdin
            assert child.stdout
            child.stdout.readline()
            share = (await replica.record_autoscaling_stats())[PROCESSOR]
            seconds = time.monotonic() - started
            child.stdin.close()
    assert 0.45 < 3 * share * seconds < 0.9


async def test_port_between_replicas() -> None:
    """It listens on the address of the replica's node alone; left to itself Serve takes every address."""
    async with running():
        bound: list[str] = []
        server = SimpleNamespace(add_insecure_port=bound.append)
        replica_of_serve.add_port_to_grpc_server(server, "[::]:0")
    assert bound == ["127.0.0.1:0"]


async def test_threads_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting goes before the processors that Ray gives."""
    monkeypatch.setenv("XRAY_REPORT_THREADS", "1")
    async with running() as (_, app):
        assert app.state.service.settings.threads == 1


async def test_an_engine_that_fails() -> None:
    """Serve hears of it as balancers do, and of its getting over it."""
    async with running() as (replica, app):
        app.state.service.failures = FAILURES_IN_A_ROW
        with pytest.raises(NotReadyError):
            await replica.check_health()
        async with asyncio.timeout(20):
            while app.state.service.failing:  # noqa: ASYNC110  # the watchdog tries studies of its own
                await asyncio.sleep(0.05)
        await replica.check_health()


async def test_no_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong arrives as it is, for Serve to tell."""
    monkeypatch.setenv("XRAY_REPORT_CHECKPOINT_SHA256", "0" * 64)
    with pytest.raises(CheckpointError, match="SHA-256 does not match"):
        await Replica(create_app).__serve_build_asgi_app__()
