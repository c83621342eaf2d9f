"""What HTTP asks of every address alike, before any is looked for."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import Problem, problem_response

_METHOD_NOT_ALLOWED = 405
_CLOSE = {"Connection": "close"}  # where the next request begins cannot be told


class FrameMiddleware:
    """Answers HEAD as GET without the body, and refuses what has two readings or an address that cannot be."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; passes anything but HTTP through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == _METHOD_NOT_ALLOWED:
                headers = MutableHeaders(scope=message)
                if "GET" in headers.get("allow", ""):
                    headers["allow"] = "GET, HEAD"
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        if problem := _refusal(scope):
            await problem_response(Request(scope), problem)(scope, receive, answer)
            return
        if scope["path"].lower().startswith(("http://", "https://")):  # as to a proxy: RFC 9112, 3.2.2
            scope["path"] = "/" + "".join(scope["path"].split("/", 3)[3:])
        if head:
            scope["method"] = "GET"
        try:
            await self.app(scope, receive, answer)
        finally:
            if head:
                scope["method"] = "HEAD"


def _refusal(scope: Scope) -> Problem | None:
    headers = Headers(scope=scope)
    if scope["http_version"] not in ("1.0", "1.1"):
        return Problem("malformed-request", "The service speaks HTTP/1.1.", _CLOSE)
    # Which of them ends the body? A proxy may think otherwise than we (RFC 9112, 6.1).
    if "content-length" in headers and "transfer-encoding" in headers:
        return Problem("malformed-request", "A request has Content-Length or Transfer-Encoding, not both.", _CLOSE)
    # Routes end in `$`, which takes a line feed, too.
    if not scope["path"].isprintable():
        return Problem("not-found")
    return None
