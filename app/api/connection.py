"""What uvicorn leaves open on a connection: how long a request's head may take, and how the unreadable is answered."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.api.problems import MEDIA_TYPE, Problem, problem_document
from app.telemetry import Metrics

logger = logging.getLogger(__name__)


class Connection(H11Protocol):
    """An HTTP/1.1 connection whose client must have sent a request's head within `head_seconds`.

    The body has its own deadline where it is read, and an idle connection uvicorn's keep-alive.
    """

    def __init__(self, *arguments: Any, head_seconds: float, metrics: Metrics, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_seconds = head_seconds
        self._metrics = metrics
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._await_head()
        else:
            self._stop_waiting()

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP, or too long a head. The words are ours: `msg` is uvicorn's."""
        self._refuse(Problem("malformed-request", "This is not a valid HTTP request, or its head is too large."))

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_seconds, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        begun, _ = self.conn.trailing_data
        if begun:
            self._refuse(Problem("request-timeout"))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        self._stop_waiting()
        logger.info("request", extra={"route": "unmatched", "status": problem.status, "problem": problem.type})
        self._metrics.requests.labels("other", "unmatched", problem.status).inc()
        # The answer to an earlier request of this connection may be under way: then there is no room for another.
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(problem_document(problem, "/")).encode()
            headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), "connection": "close"}
            for event in (
                h11.Response(status_code=problem.status, headers=list(headers.items())),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
