"""In front of replicas that may die: a request that a replica took with it is asked of another one.

Ray Serve's proxy gives such a request up with a bare 500. A report may be asked for twice, for it changes nothing, so
what was sent is kept until there is an answer. That a replica was lost shows in nothing having been answered at all, or
in the 503 of one that is not able (its watchdog ends it). A full one's 503 is for the client: repeated here, overload
would feed itself.
"""

from __future__ import annotations

import asyncio
import json
import logging

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.middleware import SECURITY_HEADERS, identify
from app.api.problems import MEDIA_TYPE, Problem, problem_response
from app.telemetry import request_context

logger = logging.getLogger(__name__)

# Before each further try. The watchdog takes a second to end its process, which refuses quickly until then.
PAUSES = (0.1, 0.4, 1.0, 2.0)
# Said by a replica that will not get better, or is leaving.
_OF_THE_REPLICA = ("model-not-ready", "draining")


class ReplayMiddleware:
    """Asks again what got no answer, as often as there are pauses; then the answer is `model-not-ready`.

    Serve's own refusals become problem documents, and the request's id, which it adds to ours, stands there once.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, max_kept_bytes: int) -> None:
        """No more is read of a request than `max_body_bytes` and a chunk. Requests that do not fit into
        `max_kept_bytes`, all together, are asked once."""
        self.app = app
        self.max_body_bytes = max_body_bytes
        self._max_kept_bytes = max_kept_bytes
        self._kept_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; passes anything but HTTP through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(self, receive)
        try:
            for pause in (*PAUSES, None):
                answer = _Answer(send)
                # The list of headers is one: every try has the id that the first one got.
                await self.app(dict(scope), body.from_start(), answer)
                if answer.begun or body.left:
                    return
                if pause is None or not (answer.lost and body.whole):
                    await _answer_with(answer.problem, scope, receive, send)
                    return
                logger.warning("no answer from a replica: another one is asked")
                await asyncio.sleep(pause)
        finally:
            body.drop()

    def keep(self, size: int) -> bool:
        """Whether so many more bytes may be kept; if so they count."""
        if self._kept_bytes + size > self._max_kept_bytes:
            return False
        self._kept_bytes += size
        return True

    def let_go(self, size: int) -> None:
        """So many are no longer kept."""
        self._kept_bytes -= size


class _Body:
    """What the client has sent so far. `left` says that the client is gone, `whole` that all of it is kept."""

    def __init__(self, keeper: ReplayMiddleware, receive: Receive) -> None:
        self._keeper, self._receive = keeper, receive
        self._messages: list[Message] = []
        self._read = self._kept = 0
        self.left = False
        self.whole = True

    def from_start(self) -> Receive:
        """Reads it from its first byte on."""
        position = 0

        async def receive() -> Message:
            nonlocal position
            if self.whole and position < len(self._messages):
                position += 1
                return self._messages[position - 1]
            message = await self._next()
            position += 1
            return message

        return receive

    async def _next(self) -> Message:
        if self._read > self._keeper.max_body_bytes:
            # The replica refuses it, and the proxy would read on without end.
            await asyncio.get_running_loop().create_future()
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.left = True
            return message
        size = len(message.get("body", b""))
        self._read += size
        if self.whole and self._keeper.keep(size):
            self._kept += size
            self._messages.append(message)
        else:
            self.drop()
        return message

    def drop(self) -> None:
        """From now on it is not kept."""
        self.whole = False
        self._messages.clear()
        self._keeper.let_go(self._kept)
        self._kept = 0


class _Answer:
    """One try's answer. `begun` says that the client has some of it; if not, `problem` is what it is told in the end,
    and `lost` that another replica may do better."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: list[Message] = []  # a 503, until it is known whose it is
        self.begun = False
        self.lost = True
        self.problem = Problem("model-not-ready", headers={"Retry-After": "5"})

    async def __call__(self, message: Message) -> None:
        """The `send` of the proxy behind."""
        if message["type"] == "http.response.start":
            message = {**message, "headers": _with_one_id(message.get("headers", ()))}
        if not self.begun and (self._held or message.get("status") == 503):
            self._held.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await self._decide(self._held)
        else:
            self.begun = True
            await self._send(message)

    async def _decide(self, held: list[Message]) -> None:
        headers = Headers(raw=held[0]["headers"])
        if headers.get("content-type") != MEDIA_TYPE:  # Serve's own: it gave up, or too many wait for replicas
            self.lost = False
            if "retry-after" in headers:
                self.problem = Problem("overloaded", headers={"Retry-After": headers["retry-after"]})
            return
        document = json.loads(b"".join(message.get("body", b"") for message in held[1:]))
        if document["type"] not in _OF_THE_REPLICA:
            self.begun = True
            for message in held:
                await self._send(message)


def _with_one_id(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    ids = [one for one in headers if one[0].lower() == b"x-request-id"]
    return [one for one in headers if one[0].lower() != b"x-request-id"] + ids[:1]


async def _answer_with(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    context = identify(Headers(scope=scope))
    token = request_context.set(context)
    try:
        response = problem_response(Request(scope), problem)
        response.raw_headers += [*SECURITY_HEADERS, (b"x-request-id", context["request_id"].encode())]
        await response(scope, receive, send)
    finally:
        request_context.reset(token)
