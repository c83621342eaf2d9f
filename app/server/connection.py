"""What uvicorn leaves open on a connection: how long a request's head may take, how the unreadable is answered, and how
a connection ends whose client is still sending.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import h11
from starlette.datastructures import Headers
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.api.middleware import SECURITY_HEADERS, identify
from app.api.problems import MEDIA_TYPE, Problem, problem_document
from app.telemetry import Metrics, request_context

logger = logging.getLogger(__name__)

# Without a byte for so long, a client whose answer is out is taken to have stopped sending.
LINGER_SECONDS = 2.0


class Connection(H11Protocol):
    """An HTTP/1.1 connection whose client must have sent a request's head within `head_seconds`.

    The body has its own deadline where it is read, and an idle connection uvicorn's keep-alive.
    """

    def __init__(self, *arguments: Any, head_seconds: float, metrics: Metrics, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_seconds = head_seconds
        self._metrics = metrics
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the head, then the body, must have come
        self._lingering = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._socket = transport
        super().connection_made(cast(asyncio.Transport, _Transport(transport, self._close)))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._linger()
        else:
            super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._await_head()
        elif self._timer is not None and not self._lingering:
            self._stop_waiting()
            self._due = self.loop.time() + self._head_seconds

    def shutdown(self) -> None:
        if self._lingering:
            self._socket.close()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP, or too long a head. The words are ours: `msg` is uvicorn's."""
        self._refuse(Problem("malformed-request", "This is not a valid HTTP request, or its head is too large."))

    def _await_head(self) -> None:
        if self._timer is None:
            self._due = self.loop.time() + self._head_seconds
            self._timer = self.loop.call_at(self._due, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        begun, _ = self.conn.trailing_data
        if begun:
            self._refuse(Problem("request-timeout"))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        self._stop_waiting()
        # A body that cannot be read belongs to a request whose head could.
        under_way = self.conn.our_state is h11.SEND_RESPONSE
        context = identify(Headers(raw=self.headers) if under_way else Headers())
        token = request_context.set(context)
        logger.info("request", extra={"route": "unmatched", "status": problem.status, "problem": problem.type})
        self._metrics.requests.labels("other", "unmatched", problem.status).inc()
        # The answer to an earlier request of this connection may be under way: then there is no room for another.
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(problem_document(problem, "/")).encode()
            headers = [
                *self.server_state.default_headers,
                (b"content-type", MEDIA_TYPE.encode()),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                *SECURITY_HEADERS,
                (b"x-request-id", context["request_id"].encode()),
            ]
            reason = HTTPStatus(problem.status).phrase.encode()
            self._send(h11.Response(status_code=problem.status, headers=headers, reason=reason))
            if not (under_way and self.scope["method"] == "HEAD"):
                self._send(h11.Data(data=body))
            self._send(h11.EndOfMessage())
        request_context.reset(token)
        if self.cycle is not None:
            self.cycle.disconnected = True  # what the application still answers finds nobody
            self.cycle.message_event.set()
        self.transport.close()

    def _send(self, event: h11.Event) -> None:
        self.transport.write(self.conn.send(event) or b"")

    def _close(self) -> None:
        """Closes the connection: our half at once, the other when the client has stopped sending (RFC 9112, 9.6).

        Closed at once, the socket would answer what still comes with a reset, on which a client may lose the answer
        that it has not read yet.
        """
        sending = self.conn.their_state in (h11.SEND_BODY, h11.ERROR) or self.conn.trailing_data[0]
        if self._lingering or not sending or self._socket.is_closing():
            self._socket.close()
            return
        self._lingering = True
        self._due = max(self._due, self.loop.time() + LINGER_SECONDS)
        self._socket.write_eof()
        self.flow.resume_reading()
        self._linger()

    def _linger(self, ticks: int = 2) -> None:
        """Reads past what comes, until the whole request would have had to be there; its end closes by itself.

        Silence is counted in ticks: were it one timer, a process that was held up would find it over before it could
        read what came meanwhile.
        """
        self._stop_waiting()
        now = self.loop.time()
        if ticks == 0 or now >= self._due:
            self._socket.close()
        else:
            at = min(self._due, now + LINGER_SECONDS / 2)
            self._timer = self.loop.call_at(at, self._linger, ticks - 1)


class _Transport:
    """A connection's transport as uvicorn sees it: closing it is left to `close`, and it counts as closed at once."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self._close = close
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._closed = True
        self._close()

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()
