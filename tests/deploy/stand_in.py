"""A server that answers as it is told to, for what real ones do seldom: refuse, break off, break off in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Mood = Literal["answers", "answers late", "refuses", "breaks", "breaks in the middle"]
LATE_SECONDS = 0.3


class StandIn(ThreadingHTTPServer):
    """Ready all the time; `asked` holds the headers of every request but for /readyz."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, port: int, mood: Mood) -> None:
        super().__init__((address, port), _Handler)
        self.mood = mood
        self.asked: list[dict[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self._answer(200)
        else:
            self.do_POST()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append({name.lower(): value for name, value in self.headers.items()})
        match self.server.mood:
            case "answers":
                self._answer(200)
            case "answers late":
                time.sleep(LATE_SECONDS)
                self._answer(200)
            case "refuses":
                self._answer(503, ("Retry-After", "7"))
            case "breaks":
                self._hang_up()
            case "breaks in the middle":
                self._answer(200, length=1000)
                self._hang_up()

    def _answer(self, status: int, *headers: tuple[str, str], length: int | None = None) -> None:
        body = str(self.server.server_address[0]).encode()
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(length or len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def standing_in(address: str, port: int, mood: Mood = "answers") -> Iterator[StandIn]:
    """One on this address."""
    with StandIn(address, port, mood) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
