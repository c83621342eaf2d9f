"""The watchdog at a real server: an engine in trouble shows, its clients get answers, the process recovers or ends."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.server.watchdog import EXIT_CODE, watched
from benchmarks.server import Server
from tests.app.conftest import client_of, running
from tests.app.faulty import FAULT_FILE
from tests.app.running_server import serving

URL = "/v1/report"
PATIENCE = 20.0


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file whose text is the fault of the moment."""
    file = tmp_path / "fault"
    monkeypatch.setenv(FAULT_FILE, str(file))
    return file


@pytest.fixture
def server(tiny_checkpoint: Path, fault: Path) -> Iterator[Server]:
    """A server that can be made to fail, with little patience."""
    with serving(tiny_checkpoint, "tests.app.faulty", stall_seconds=0.5, hang_seconds=2) as server:
        yield server


def until(condition: Callable[[], bool]) -> float:
    """Waits for it; the seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < PATIENCE
        time.sleep(0.02)
    return time.monotonic() - started


def statuses(client: httpx.Client) -> tuple[int, int]:
    """Of /livez and /readyz."""
    return client.get("/livez").status_code, client.get("/readyz").status_code


def test_hung_step(server: Server, fault: Path, picture: bytes) -> None:
    """While a step hangs the service is alive and not ready; then those who wait get 503 and the process ends."""
    fault.write_text("hang")
    with server.client() as client, ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(client.post, URL, files={"image": picture}) for _ in range(3)]
        upload = threads.submit(client.post, URL, content=slowly(picture), headers={"content-type": "image/png"})
        assert until(lambda: statuses(client) == (200, 503)) < 2
        until(lambda: client.get("/livez").status_code == 503)
        for answer in (*(future.result() for future in waiting), upload.result()):
            assert (answer.status_code, answer.json()["type"]) == (503, "model-not-ready")
            assert answer.headers["retry-after"]
        assert server.process.wait(PATIENCE) == EXIT_CODE
    line = server.line("giving up: a step hangs")
    assert (line["level"], line["exit_code"]) == ("critical", EXIT_CODE)


def slowly(data: bytes) -> Iterator[bytes]:
    """An upload that takes longer than the service has patience with its engine."""
    for i in range(0, len(data), len(data) // 40):
        yield data[i : i + len(data) // 40]
        time.sleep(0.2)


def test_sigterm_during_a_hang(server: Server, fault: Path, picture: bytes) -> None:
    """SIGTERM while a step hangs ends in exit code 70 and answers, not in waiting for ever."""
    fault.write_text("hang")
    with server.client() as client, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.post, URL, files={"image": picture})
        until(lambda: client.get("/readyz").status_code == 503)
        server.process.send_signal(signal.SIGTERM)
        assert waiting.result().status_code == 503
        assert server.process.wait(PATIENCE) == EXIT_CODE


@pytest.mark.anyio
async def test_dead_engine(
    tiny_checkpoint: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the engine's thread has died, nothing is made any more, and the process ends."""
    exits: list[int] = []
    monkeypatch.setattr("os._exit", exits.append)
    async with running(tiny_checkpoint) as app, watched(app.state.service), client_of(app) as client:
        app.state.service.generator.close(0)
        assert (await client.post(URL, files={"image": picture})).status_code == 503
        assert (await client.get("/livez")).status_code == 503
        while not exits:  # noqa: ASYNC110  # as who waits for a process
            await asyncio.sleep(0.05)
    assert exits[0] == EXIT_CODE
    assert "giving up: the engine has stopped" in caplog.text


def test_out_of_memory(server: Server, fault: Path, picture: bytes) -> None:
    """Memory running out fails a study; when nothing succeeds the service is not ready until it does, or ends."""
    with server.client() as client:
        fault.write_text("out of memory")
        assert client.post(URL, files={"image": picture}).json()["type"] == "internal-error"
        assert statuses(client) == (200, 200)
        for _ in range(4):
            client.post(URL, files={"image": picture})
        assert statuses(client) == (200, 503)
        fault.unlink()
        assert until(lambda: statuses(client) == (200, 200)) < 3
        assert client.post(URL, files={"image": picture}).status_code == 200
        fault.write_text("out of memory")
        for _ in range(5):
            client.post(URL, files={"image": picture})
    assert server.process.wait(PATIENCE) == EXIT_CODE
    server.line("giving up: every study fails")


def test_interpreter_lock_is_stuck(server: Server, fault: Path, picture: bytes) -> None:
    """A native call that holds the interpreter lock stops every thread of Python, and the process still ends."""
    time.sleep(0.5)  # the watchdog looks four times a second
    fault.write_text("hang with the interpreter lock")
    with server.client() as client, pytest.raises(httpx.TransportError):
        client.post(URL, files={"image": picture})
    assert server.process.wait(PATIENCE) == 1
    until(lambda: bool(server.other))
    assert server.other[0].startswith("Timeout (0:00:02)!")
    server.log_file.write_text("")  # said and read: all else must be JSON
