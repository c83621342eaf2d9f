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
        b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: test\r\nX Y: z\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: test\r\nX: \0\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/2.0\r\nHost: test\r\n\r\n",
        b"GET /liv\xc3\xa4 HTTP/1.1\r\nHost: test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /" + b"x" * 150_000 + b" HTTP/1.1\r\nHost: test\r\n\r\n",
        b"POST /v1/report HTTP/1.1\r\nHost: test\r\nContent-Length: +5\r\n\r\nhello",
        b"POST /v1/report HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: test\r\nX: " + b"x" * 70_000,
        b"POST /v1/report HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        b"POST /v1/report HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n",
    ],
)
def test_not_http(server: Server, request_: bytes) -> None:
    """What is not HTTP is answered as anything else is, in form and headers, and its connection is closed."""
    with server.client() as client:
        usual = client.get("/nothing").headers
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = httpx.Headers([(name, value) for name, _, value in (line.partition(": ") for line in lines)])
    assert status == "HTTP/1.1 400 Bad Request"
    assert headers["connection"] == "close"
    own = {"x-request-id", "content-length", "date", "connection"}
    assert {k: v for k, v in headers.items() if k not in own} == {k: v for k, v in usual.items() if k not in own}
    problem = json.loads(body)
    assert (problem["type"], problem["status"]) == ("malformed-request", 400)
    assert len(problem["request_id"]) == 32
    assert problem["request_id"] == headers["x-request-id"]
    assert server.line("request", request_id=problem["request_id"])["status"] == 400
    assert not [entry for entry in server.log if entry["level"] == "error"]


def exchange(server: Server, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to a raw request that ends its connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request)
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/livez"), ("GET", "/livez"), ("POST", URL), ("POST", "/livez")])
def test_body_that_cannot_be_read(server: Server, method: str, path: str) -> None:
    """The answer to a body in broken chunks has the id of its request; nothing else is answered, no error is logged."""
    head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nX-Request-ID: broken{method}{path}\r\n"
    answer, body = exchange(server, head.encode() + b"Transfer-Encoding: chunked\r\n\r\nno\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert f"x-request-id: broken{method}{path}".encode() in answer
    if method == "HEAD":
        assert body == b""
    else:
        assert json.loads(body)["request_id"] == f"broken{method}{path}"
    server.line("request", request_id=f"broken{method}{path}", status=400)
    assert not [entry for entry in server.log if entry["level"] == "error"]


def test_late_head(server: Server) -> None:
    """A head that does not arrive gets a 408 with id, reason and headers."""
    answer, body = exchange(server, b"GET /livez HTTP/1.1\r\nHost: te")
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert json.loads(body)["request_id"].encode() in answer
    assert b"x-content-type-options: nosniff" in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /livez HTTP/1.1", 200),
        (b"GET /livez HTTP/1.0", 200),
        (b"GET http://elsewhere.example/livez HTTP/1.1", 200),
        (b"get /livez HTTP/1.1", 405),
        (b"TRACE /livez HTTP/1.1", 405),
        (b"OPTIONS /livez HTTP/1.1", 405),
        (b"OPTIONS * HTTP/1.1", 404),
        (b"CONNECT elsewhere.example:443 HTTP/1.1", 404),
        (b"POST /v1/report/ HTTP/1.1\r\nContent-Length: 0", 404),
        (b"GET /livez%0A HTTP/1.1", 404),
        (b"GET /%FF%00 HTTP/1.1", 404),
        (b"GET //elsewhere.example/..%2F HTTP/1.1", 404),
        (b"GET /livez?%FF HTTP/1.1\r\nRange: bytes=0-1\r\nUpgrade: websocket", 200),
    ],
)
def test_odd_requests(server: Server, request_: bytes, status: int) -> None:
    """What is HTTP, however odd, is answered by its address and method, and sends nobody elsewhere."""
    answer, body = exchange(server, request_ + b"\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"elsewhere" not in answer + body
    assert b"location:" not in answer
    assert (b"application/problem+json" in answer) is (status >= 400)
    assert (b"allow: GET, HEAD" in answer) is (status == 405)
    assert (body == b"") is request_.startswith(b"HEAD")
    assert not [entry for entry in server.log if entry["level"] == "error"]


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue", "the-moon"])
def test_trailers_and_expectations(server: Server, picture: bytes, expect: str) -> None:
    """A body in chunks with trailers is read; whoever waits for a word to go on gets it, in any case of letters."""
    head = f"Expect: {expect}\r\nTransfer-Encoding: Chunked\r\nConnection: close"
    body = f"{len(picture):X};x=y\r\n".encode() + picture + b"\r\n0\r\nX-Trailer: x\r\nContent-Type: text/csv\r\n\r\n"
    answer = everything(send(server, head, body))
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n") is (expect != "the-moon")
    assert b"HTTP/1.1 200 OK\r\n" in answer


def test_forwarded_lines(tiny_checkpoint: Path) -> None:
    """Several X-Forwarded-For lines of a trusted proxy are one list: its last that is no proxy is the client."""
    proxies = "127.0.0.1,10.0.0.0/8"
    limited = serving(tiny_checkpoint, trusted_proxies=proxies, rate_limit_per_minute=1, rate_limit_burst=1)
    with limited as server, server.client() as client:

        def status(*lines: str) -> int:
            headers = [("x-forwarded-for", line) for line in lines]
            return client.post(URL, content=b"x", headers=headers).status_code

        assert status("192.0.2.1", "192.0.2.2") == 415
        assert status("192.0.2.2") == 429
        assert status("192.0.2.3", "192.0.2.2", "10.0.0.1") == 429
        assert status("192.0.2.2, 192.0.2.1") == 415
        assert status("192.0.2.2", "192.0.2.1, 10.0.0.1") == 429


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
