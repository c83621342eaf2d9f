"""A real server on a real port: slow clients, clients that leave, many at once, and a clean stop."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from app.server.connection import LINGER_SECONDS
from benchmarks.server import Server
from tests.app.pictures import phantom, png
from tests.app.running_server import serving

URL = "/v1/report"


@pytest.fixture(scope="module")
def server(tiny_checkpoint: Path) -> Iterator[Server]:
    with serving(
        tiny_checkpoint, receive_deadline_seconds=1, max_body_bytes=2_000_000, drain_delay_seconds=1
    ) as server:
        yield server


def send(server: Server, head: str, body: bytes = b"") -> socket.socket:
    """A connection with a raw request sent on it."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(f"POST {URL} HTTP/1.1\r\nHost: test\r\n{head}\r\n\r\n".encode() + body)
    return connection


def everything(connection: socket.socket) -> bytes:
    """What the server says until it closes the connection."""
    with connection:
        received = b""
        while data := connection.recv(65536):
            received += data
        return received


def test_slow_client(server: Server) -> None:
    """A body that has not arrived by the deadline is answered 408, and the connection is closed."""
    started = time.monotonic()
    connection = send(server, "Content-Type: image/png\r\nContent-Length: 1000", b"\x89PNG")
    for _ in range(3):
        time.sleep(0.2)
        connection.sendall(b"x")
    answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"type":"request-timeout"' in answer
    assert 0.9 < time.monotonic() - started < 4


def test_hundred_slow_clients(server: Server, picture: bytes) -> None:
    """Clients that send a byte now and then, of head or body, are closed by the deadline; others are served."""
    head, body = f"POST {URL} HTTP/1.1\r\nHost: test\r\nX: ".encode(), "Content-Type: image/png\r\nContent-Length: 99"
    started = time.monotonic()
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(50)]
    for connection in slow:
        connection.sendall(head)
    slow += [send(server, body) for _ in range(50)]
    for _ in range(3):
        time.sleep(0.2)
        for connection in slow:
            connection.sendall(b"x")
    with server.client() as client:
        assert client.post(URL, files={"image": picture}).status_code == 200
    for connection in slow:
        answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"content-type: application/problem+json" in answer
    assert time.monotonic() - started < 10


def test_silent_client(server: Server) -> None:
    """A connection without a request is closed by the deadline, too, and there is nothing to say."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "request_",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET /livez HTTP/1.1\r\n\r\n",  # no Host
        b"GET /livez HTTP/1.1\r\nHost: test\r\nX: " + b"x" * 70_000,
        b"POST /v1/report HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        b"POST /v1/report HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n",
    ],
)
def test_not_http(server: Server, request_: bytes) -> None:
    """What is not HTTP gets a problem document all the same, and its connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["type"] == "malformed-request"
    assert not [entry for entry in server.log if entry["level"] == "error"]


def test_pipelined_requests(server: Server) -> None:
    """Requests sent without waiting for answers are answered in order."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n" * 5)
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        assert everything(connection).count(b"HTTP/1.1 200 ") == 6


def test_client_that_leaves(server: Server, picture: bytes) -> None:
    """A client that goes while it uploads or waits is logged as 499, without a traceback, and leaves nothing behind."""
    before = server.written.count('"status": 499')
    send(server, f"X-Request-ID: upload\r\nContent-Type: image/png\r\nContent-Length: {len(picture)}", b"x").close()
    server.line("request", request_id="upload", status=499)
    head = f"Content-Type: image/png\r\nContent-Length: {len(picture)}"
    for i in range(8):
        send(server, f"X-Request-ID: wait{i}\r\n{head}", picture).close()
    for i in range(8):
        server.line("request", request_id=f"wait{i}")
    assert server.written.count('"status": 499') > before + 1
    assert "error" not in {entry["level"] for entry in server.log}
    with server.client() as client:
        assert client.post(URL, files={"image": picture}).status_code == 200
        until = time.monotonic() + 5  # the engine counts after it has answered
        while not {"xray_report_active_rows 0.0", "xray_report_queue_depth 0.0"} <= set(
            client.get("/metrics").text.splitlines()
        ):
            assert time.monotonic() < until
            time.sleep(0.02)


def test_declared_too_large(server: Server) -> None:
    """A body that announces too many bytes is refused before it is sent."""
    started = time.monotonic()
    with send(server, "Content-Type: image/png\r\nContent-Length: 3000000") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - started < 1


def test_too_large_as_it_comes(server: Server) -> None:
    """A client that sends without end gets its answer, and then the connection is closed on it."""

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(65536)

    with server.client() as client:
        started = time.monotonic()
        response = client.post(URL, content=endless(), headers={"content-type": "image/png"})
    assert time.monotonic() - started < 6
    assert response.status_code == 413
    assert response.json()["type"] == "payload-too-large"


def test_answer_before_the_body(tiny_checkpoint: Path) -> None:
    """A client that reads only when it has sent everything finds its answer, even if the server was held up."""
    head = "Accept: image/png\r\nContent-Type: image/png\r\nContent-Length: 400000"
    with serving(tiny_checkpoint) as server, send(server, head, bytes(100_000)) as connection:
        connection.recv(1, socket.MSG_PEEK)
        time.sleep(0.1)
        server.process.send_signal(signal.SIGSTOP)
        connection.sendall(bytes(150_000))
        time.sleep(LINGER_SECONDS + 0.2)
        server.process.send_signal(signal.SIGCONT)
        for _ in range(10):
            time.sleep(0.05)
            connection.sendall(bytes(15_000))
        assert everything(connection).startswith(b"HTTP/1.1 406 ")


def test_client_that_sends_on(server: Server) -> None:
    """A client that goes on sending after its answer, a byte now and then, is given up all the same."""
    started = time.monotonic()
    head = "Accept: image/png\r\nContent-Type: image/png\r\nContent-Length: 400000"
    with send(server, head) as connection, suppress(ConnectionError):
        while time.monotonic() < started + 10:
            connection.sendall(b"x")
            time.sleep(0.2)
    assert time.monotonic() - started < LINGER_SECONDS + 2


def test_many_at_once(server: Server) -> None:
    """Concurrent uploads each get their own report."""
    pictures = [png(phantom(shift=i)) for i in range(6)]
    with server.client() as client, ThreadPoolExecutor(12) as threads:

        def text(picture: bytes) -> str:
            response = client.post(URL, files={"image": picture})
            assert response.status_code == 200
            return str(response.json()["report"]["text"])

        alone = [text(picture) for picture in pictures]
        assert list(threads.map(text, pictures * 5)) == alone * 5


def test_small_answers_are_not_held_back(server: Server) -> None:
    """An answer leaves at once: Nagle's algorithm, which would wait 40 ms for more, is off."""
    with server.client() as client:
        seconds = [client.get("/livez").elapsed.total_seconds() for _ in range(20)]
    assert min(seconds[1:]) < 0.03


def test_keep_alive_after_errors(server: Server, picture: bytes) -> None:
    """A refused request does not spoil the connection for the next."""
    with server.client() as client:
        for _ in range(3):
            assert client.post(URL, files={"image": b"no image"}).status_code == 415
            assert client.post(URL, files={"image": picture}, headers={"accept": "image/png"}).status_code == 406
            assert client.post(URL, files={"image": picture}).status_code == 200


def test_log_keeps_silent(server: Server, picture: bytes) -> None:
    """Neither file names nor report text reach the log of a real server."""
    with server.client() as client:
        files = {"image": ("JOHN_DOE.png", picture)}
        answer = client.post(URL, files=files, headers={"x-request-id": "silent"}).json()
        client.get("/JANE_DOE?name=JANE_DOE")
    server.line("request", request_id="silent")
    assert "DOE" not in server.written
    assert answer["report"]["text"][:20] not in server.written


def test_sigint(tiny_checkpoint: Path) -> None:
    """Ctrl-C stops at once, with exit code 0 and no traceback."""
    with serving(tiny_checkpoint, drain_delay_seconds=30) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
        assert "Traceback" not in server.written


def test_sigterm(server: Server, picture: bytes) -> None:
    """At SIGTERM readiness fails first while reports are still made; then the server stops, with exit code 0.

    The last test of this file: it ends the server the others share.
    """
    with server.client() as client:
        server.process.send_signal(signal.SIGTERM)
        while client.get("/readyz").status_code == 200:
            time.sleep(0.01)
        assert client.get("/readyz").json()["type"] == "draining"
        assert client.post(URL, files={"image": picture}).status_code == 200
        assert server.process.wait(20) == 0
        with pytest.raises(httpx.ConnectError):
            client.get("/readyz")
