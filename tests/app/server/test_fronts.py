"""Several fronts before one engine: to a client they are one service, and what one of them loses is its own."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.server.watchdog import EXIT_CODE
from benchmarks.server import Server, children
from tests.app.faulty import FAULT_FILE
from tests.app.pictures import jpeg, phantom, png
from tests.app.running_server import serving

URL = "/v1/report"
FRONTS = 3
MAX_QUEUE, MAX_REQUESTS, BURST = 3, 12, 60
# The limits are of each client, so that every test has one of its own.
CLIENTS = ("alike", "room", "house", "rate", "leaves", "killed", "counted")
PATIENCE = 30.0


@pytest.fixture(scope="module")
def fault(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file whose text is the fault of the moment."""
    return tmp_path_factory.mktemp("fault") / "fault"


@pytest.fixture(scope="module")
def server(tiny_checkpoint: Path, fault: Path) -> Iterator[Server]:
    """A server whose engine can be made to wait, with room for few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FAULT_FILE, str(fault))
        hashes = ",".join(hashlib.sha256(name.encode()).hexdigest() for name in CLIENTS)
        limits = {"max_queue": MAX_QUEUE, "max_requests": MAX_REQUESTS, "max_rows": 8, "rate_limit_burst": BURST}
        keys = {"api_key_hashes": hashes, "rate_limit_per_minute": 0.01}
        with serving_by_fronts(tiny_checkpoint, "tests.app.faulty", hang_seconds=600, **limits, **keys) as server:
            yield server


def serving_by_fronts(checkpoint: Path, module: str = "app.cli", **settings: object) -> Any:
    return serving(checkpoint, module, fronts=FRONTS, **settings)


@pytest.fixture(autouse=True)
def _all_ready(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every front has heard that the engine is warm; whatever a test made wait goes on after it."""
    if "server" in request.fixturenames:
        all_ready(request.getfixturevalue("server"))
    yield
    if "fault" in request.fixturenames:
        request.getfixturevalue("fault").unlink(missing_ok=True)


def all_ready(server: Server) -> None:
    """Until the engine's process and each front have said so."""
    server.lines("ready", FRONTS + 1)


def until(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.02)


def post(server: Server, client: str, file: bytes, path: str = URL, **headers: str) -> httpx.Response:
    """By a connection of its own."""
    authorization = {"authorization": f"Bearer {client}"} if client else {}
    with server.client() as connection:
        return connection.post(path, files={"image": file}, headers={**authorization, **headers})


def wide(server: Server, client: str, file: bytes) -> httpx.Response:
    """A study that takes all rows, and 40 steps."""
    return post(server, client, file, f"{URL}?num_beams=8&min_new_tokens=40")


def metric(server: Server, name: str, **labels: str) -> float:
    """The value of a series."""
    with server.client() as client:
        text = client.get("/metrics", params={"name[]": name}).text
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(name) and all(label in line for label in wanted)
    )


def occupied(server: Server, threads: ThreadPoolExecutor, client: str, file: bytes) -> Future[httpx.Response]:
    """A study that has all rows, which the engine waits with."""
    name = "xray_report_queue_wait_seconds_count"
    before = metric(server, name)
    study = threads.submit(wide, server, client, file)
    until(lambda: metric(server, name) == before + 1)
    return study


def left(server: Server) -> float:
    """How many clients left before their answer."""
    return metric(server, "xray_report_http_requests_total", status="499")


def fronts_of(server: Server) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in children(server.process.pid)]


def clients(front: psutil.Process) -> int:
    """How many it has."""
    return sum(one.status == psutil.CONN_ESTABLISHED for one in front.net_connections("tcp"))


def all_ended(processes: list[psutil.Process]) -> bool:
    """Whoever should wait for them may not have."""
    return all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in processes)


@pytest.mark.anyio
async def test_answers(server: Server, client: httpx.AsyncClient) -> None:
    """Each answer is the one that a single process gives, and so is what is said of the model."""

    def told(response: httpx.Response) -> Any:
        if response.headers["content-type"] not in ("application/json", "application/problem+json"):
            return response.status_code, response.text
        once = ("id", "created", "timing", "request_id", "limits")
        return response.status_code, {key: value for key, value in response.json().items() if key not in once}

    files = [*(png(phantom(shift=i)) for i in range(6)), jpeg(phantom(500, 400)), b"no image"]
    asked = [("", {}), ("?include=heatmaps&num_return_sequences=2&num_beams=4", {}), ("", {"accept": "text/plain"})]
    for i, file in enumerate(files):
        query, headers = asked[i % len(asked)]
        alone = await client.post(URL + query, files={"image": file}, headers=headers)
        assert told(post(server, "alike", file, URL + query, **headers)) == told(alone)
    wrong = await client.post(f"{URL}?num_beams=9", files={"image": files[0]})
    assert told(post(server, "alike", files[0], f"{URL}?num_beams=9")) == told(wrong)
    with server.client() as connection:
        model = connection.get("/v1/model", headers={"authorization": "Bearer alike"})
        described = connection.get("/openapi.json").json()["paths"][URL]["post"]
    assert told(model) == told(await client.get("/v1/model"))
    alone = (await client.get("/openapi.json")).json()["paths"][URL]["post"]
    assert described["parameters"] == alone["parameters"]
    assert described["requestBody"] == alone["requestBody"]


def test_client_that_leaves(server: Server, fault: Path, picture: bytes) -> None:
    """Its study leaves the queue, though the engine is at a step."""
    fault.write_text("wait")
    before = left(server)
    with ThreadPoolExecutor(2) as threads:
        first = occupied(server, threads, "leaves", picture)
        connection = socket.create_connection((server.host, server.port), timeout=PATIENCE)
        head = (
            f"Host: test\r\nAuthorization: Bearer leaves\r\nContent-Type: image/png\r\nContent-Length: {len(picture)}"
        )
        connection.sendall(f"POST {URL} HTTP/1.1\r\n{head}\r\n\r\n".encode() + picture)
        until(lambda: metric(server, "xray_report_queue_depth") == 1)
        connection.close()
        until(lambda: metric(server, "xray_report_queue_depth") == 0)
        until(lambda: left(server) == before + 1)
        fault.unlink()
        assert first.result().status_code == 200


def test_killed_front(server: Server, fault: Path, picture: bytes) -> None:
    """What it had is lost and out of the queue; others get their reports, another front comes, no count is less."""
    fault.write_text("wait")
    counted = metric(server, "xray_report_http_requests_total", status="200", route=URL)
    with ThreadPoolExecutor(4) as threads:
        studies = [occupied(server, threads, "killed", picture)]
        studies += [threads.submit(post, server, "killed", picture) for _ in range(MAX_QUEUE)]
        until(lambda: metric(server, "xray_report_queue_depth") == MAX_QUEUE)
        until(lambda: sum(map(clients, fronts_of(server))) == len(studies))
        front = max(fronts_of(server), key=clients)
        lost = clients(front)
        front.kill()
        until(lambda: len(fronts_of(server)) == FRONTS and not front.is_running())
        fault.unlink()
        answers = [study.exception() or study.result() for study in studies]
    assert sum(isinstance(answer, httpx.TransportError) for answer in answers) == lost
    kept = [answer.status_code for answer in answers if isinstance(answer, httpx.Response)]
    assert kept == [200] * (len(studies) - lost)
    assert server.line("a front has ended")["exit_code"] == -signal.SIGKILL
    until(lambda: metric(server, "xray_report_active_rows") == metric(server, "xray_report_queue_depth") == 0)
    server.lines("ready", FRONTS + 2)
    assert [post(server, "killed", picture).status_code for _ in range(3 * FRONTS)] == [200] * 3 * FRONTS
    now = metric(server, "xray_report_http_requests_total", status="200", route=URL)
    assert now == counted + len(kept) + 3 * FRONTS


def test_counts(server: Server, picture: bytes) -> None:
    """Metrics are of all processes, whoever is asked for them."""
    before = metric(server, "xray_report_stage_duration_seconds_count", stage="decode")
    for _ in range(4 * FRONTS):
        assert post(server, "counted", picture).status_code == 200
    for _ in range(2 * FRONTS):
        after = metric(server, "xray_report_stage_duration_seconds_count", stage="decode")
        assert after == before + 4 * FRONTS
    assert metric(server, "xray_report_model_info") == 1


def test_rate(server: Server) -> None:
    """The bound on a client's requests is one over all fronts."""
    answers = [post(server, "rate", b"no image") for _ in range(BURST + 10)]
    assert Counter(one.status_code for one in answers) == {415: BURST, 429: 10}


# Room is kept some seconds for who is refused in these, so they come last.


def test_room(server: Server, fault: Path, picture: bytes) -> None:
    """Whichever fronts studies come by, no more wait than may; the others are told when to come back."""
    fault.write_text("wait")
    with ThreadPoolExecutor(12) as threads:
        first = occupied(server, threads, "room", picture)
        more = [threads.submit(post, server, "room", picture) for _ in range(MAX_REQUESTS - 2)]
        until(lambda: sum(one.done() for one in more) == len(more) - MAX_QUEUE)
        assert metric(server, "xray_report_queue_depth") == MAX_QUEUE
        refused = [one.result() for one in more if one.done()]
        fault.unlink()
        answers = [first.result(), *(one.result() for one in more)]
    assert Counter(one.status_code for one in answers) == {200: 1 + MAX_QUEUE, 503: len(refused)}
    assert {(one.json()["type"], int(one.headers["retry-after"]) >= 1) for one in refused} == {("overloaded", True)}


def test_house(server: Server, picture: bytes) -> None:
    """Requests in the house are counted over all fronts, those that are still being sent as well."""

    def uploading() -> socket.socket:
        connection = socket.create_connection((server.host, server.port), timeout=PATIENCE)
        head = "Host: test\r\nAuthorization: Bearer house\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(f"POST {URL} HTTP/1.1\r\n{head}".encode() + picture[:10])
        return connection

    def refused() -> bool:
        return post(server, "house", picture).status_code == 503

    before = left(server)
    uploads = [uploading() for _ in range(MAX_REQUESTS)]
    until(refused)
    for _ in range(2 * FRONTS):
        answer = post(server, "house", picture)
        assert (answer.status_code, answer.json()["type"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
    uploads.pop().close()
    until(lambda: not refused())
    for connection in uploads:
        connection.close()
    until(lambda: left(server) == before + MAX_REQUESTS)


def test_killed_engine(server: Server) -> None:
    """No front outlives the process with the engine: its successor finds the port free. This server's last test."""
    processes = fronts_of(server)
    server.process.kill()
    until(lambda: all_ended(processes))
    with server.client() as client, pytest.raises(httpx.ConnectError):
        client.get("/livez")


def test_sigterm(tiny_checkpoint: Path, picture: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not ready at once; what was begun is answered by all fronts; then the port is free and the exit code 0."""
    fault = tmp_path / "fault"
    monkeypatch.setenv(FAULT_FILE, str(fault))
    fault.write_text("")

    def upload() -> Iterator[bytes]:
        yield picture[:100]
        until(lambda: not fault.exists())
        yield picture[100:]

    def send(server: Server) -> int:
        with server.client() as client:
            return client.post(URL, content=upload(), headers={"content-type": "image/png"}).status_code

    with (
        serving_by_fronts(tiny_checkpoint, "tests.app.faulty", drain_delay_seconds=1, max_rows=8) as server,
        ThreadPoolExecutor(9) as threads,
    ):
        all_ready(server)
        fault.write_text("wait")
        begun = [occupied(server, threads, "", picture), *(threads.submit(wide, server, "", picture) for _ in range(4))]
        until(lambda: metric(server, "xray_report_queue_depth") == 4)
        uploads = [threads.submit(send, server) for _ in range(4)]
        until(lambda: sum(map(clients, fronts_of(server))) == len(begun) + len(uploads))
        processes = fronts_of(server)
        server.process.send_signal(signal.SIGTERM)
        with server.client() as client:
            until(lambda: client.get("/readyz").json().get("type") == "draining")
        fault.unlink()
        assert [one.result().status_code for one in begun] == [200] * 5
        assert [one.result() for one in uploads] == [200] * 4
        assert server.process.wait(PATIENCE) == 0
        assert all_ended(processes)
        with server.client() as client, pytest.raises(httpx.ConnectError):
            client.get("/readyz")


def test_hung_engine(tiny_checkpoint: Path, picture: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a step hangs no front is ready; then those who wait get 503, and all processes end."""
    fault = tmp_path / "fault"
    monkeypatch.setenv(FAULT_FILE, str(fault))
    with (
        serving_by_fronts(tiny_checkpoint, "tests.app.faulty", stall_seconds=0.5, hang_seconds=2) as server,
        ThreadPoolExecutor(6) as threads,
    ):
        all_ready(server)
        processes = fronts_of(server)
        fault.write_text("hang")
        waiting = [threads.submit(post, server, "", picture) for _ in range(6)]
        with server.client() as client:
            until(lambda: client.get("/readyz").status_code == 503)
            assert client.get("/livez").status_code == 200
        for answer in (future.result() for future in waiting):
            assert (answer.status_code, answer.json()["type"]) == (503, "model-not-ready")
        assert server.process.wait(PATIENCE) == EXIT_CODE
        until(lambda: all_ended(processes))


def test_start_that_fails(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is taken, even by another such service, and a wrong checkpoint are told in one line."""
    monkeypatch.setenv("XRAY_REPORT_FRONTS", "2")
    monkeypatch.setenv("XRAY_REPORT_CHECKPOINT", str(tiny_checkpoint))
    command = [sys.executable, "-m", "app.cli", "serve", "--port"]
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*command, port], capture_output=True, text=True)  # noqa: S603  # our own
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1, f"xray-report: cannot listen on 127.0.0.1 port {port}: Address already in use")  # fmt: skip
    monkeypatch.setenv("XRAY_REPORT_CHECKPOINT_SHA256", "0" * 64)
    done = subprocess.run([*command, "0"], capture_output=True, text=True)  # noqa: S603  # our own
    assert done.returncode == 1
    assert done.stderr.startswith("xray-report: ")
    assert len(done.stderr.splitlines()) == 1
