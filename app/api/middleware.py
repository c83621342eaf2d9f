"""Around every request: its id, trace, log line and metrics, a problem document for the unforeseen, and an end to
bodies that nobody reads. Plain ASGI: Starlette's BaseHTTPMiddleware would hide a client's leaving from the routes.
"""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.headers import single
from app.api.problems import problem_response
from app.telemetry import Metrics, request_context

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:=+/-]{1,128}")
# W3C Trace Context, level 1: version, trace-id, parent-id, flags.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")

# A page that needs more than nothing says so itself.
SECURITY_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
POLLED = frozenset({"/livez", "/readyz", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMiddleware:
    """Identifies, counts and logs each request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; passes anything but HTTP through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        context = identify(Headers(scope=scope))
        token = request_context.set(context)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                given = {name for name, _ in headers}
                headers += [(name, value) for name, value in SECURITY_HEADERS if name not in given]
                headers.append((b"x-request-id", context["request_id"].encode()))
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            self._record(scope, status or 500, time.perf_counter() - started)
            request_context.reset(token)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # The route, not the path: a path may hold anything, and every new one would be a new time series.
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.requests.labels(method, route, status).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        fields = {"method": method, "route": route, "status": status, "duration_ms": round(seconds * 1e3, 1)}
        if problem := scope.get("problem"):
            fields["problem"] = problem
            if method == "POST":  # a balancer asking whether it may send requests is not one
                self.metrics.rejected.labels(problem).inc()
        logger.log(logging.DEBUG if route in POLLED and status < 400 else logging.INFO, "request", extra=fields)


def identify(headers: Headers) -> dict[str, str]:
    """The request's id, the client's own where it is harmless, and the trace it belongs to."""
    given = single(headers, "x-request-id")
    context = {"request_id": given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex}
    if trace := _TRACEPARENT.fullmatch(single(headers, "traceparent")):
        context |= {"trace_id": trace[1], "parent_span_id": trace[2]}
    return context


class UnforeseenMiddleware:
    """Answers an error that nobody foresaw with a problem document."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception as error:
            logger.exception("unforeseen error")
            if started:  # half an answer is out: the server must cut the connection
                raise
            await problem_response(Request(scope), error)(scope, receive, send)


class CloseUnread:
    """Announces the end of the connection with an answer that comes before the whole body has.

    Nobody will read the rest, and uvicorn would otherwise wait for its end, which may never come. How the connection
    then ends is up to `Connection`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; passes anything but HTTP through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        pending = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

        async def watch() -> Message:
            nonlocal pending
            message = await receive()
            pending = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def answer(message: Message) -> None:
            if pending and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self.app(scope, watch, answer)
