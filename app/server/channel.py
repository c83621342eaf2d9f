"""Messages between the process with the engine and a front: calls, their answers, and what needs none.

Messages are pickled, for both ends are our own and nobody else has the pair of sockets they go over. What is sent in
one turn of the event loop goes together, since a system call costs either side more than a message.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol, cast

from app.api.problems import Problem

_SIZE = struct.Struct("!Q")
_BUFFER_BYTES = 2**20  # a 512² picture, or some hundred small messages, at once
_PATIENCE_SECONDS = 0.005  # of what may go with the next message

Reply = Callable[[object], None]
"""Takes the answer to a call; a `Problem` is raised where it was made. Of what was only told it takes nothing."""


class Handler(Protocol):
    """What is called with each message of the other side: its name, what it says, and how to answer. Must not raise."""

    def __call__(self, name: str, said: tuple[Any, ...], reply: Reply, /) -> None: ...


class Channel(asyncio.Protocol):
    """One end. Used on the event loop's thread only."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._to_send: list[bytes] = []
        self._flush_due = False
        self._numbers = count(1)
        self._awaited: dict[int, asyncio.Future[Any]] = {}
        self._gone = asyncio.Event()

    @classmethod
    async def over(cls, end: socket.socket, handler: Handler) -> Channel:
        """Over one end of a `socket.socketpair`, which it owns from now on."""
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        _, channel = await asyncio.get_running_loop().create_unix_connection(lambda: cls(handler), sock=end)
        return channel

    def tell(self, name: str, *said: object) -> None:
        """Says something that is not answered."""
        self._send((0, name, said))

    def mention(self, name: str, *said: object) -> None:
        """Says something that is not answered, and that may wait some milliseconds for the next message."""
        self._to_send.append(_packed((0, name, said)))
        self._loop.call_later(_PATIENCE_SECONDS, self._flush)

    def call(self, name: str, *said: object) -> asyncio.Future[Any]:
        """The answer to come. Fails with the problem the other side answered, or `model-not-ready` when it is gone."""
        future = self._loop.create_future()
        if self._gone.is_set():
            future.set_exception(_engine_gone())
        else:
            number = next(self._numbers)
            self._awaited[number] = future
            self._send((number, name, said))
        return future

    async def until_gone(self) -> None:
        """Waits for the other side to be gone, or for `close`."""
        await self._gone.wait()

    def close(self) -> None:
        """Whoever waits for an answer gets none."""
        self._transport.close()
        self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """For asyncio."""
        self._gone.set()
        for future in self._awaited.values():
            if not future.done():
                future.set_exception(_engine_gone())
        self._awaited.clear()

    def data_received(self, data: bytes) -> None:
        """For asyncio."""
        self._received += data
        start = 0
        while len(self._received) - start >= _SIZE.size:
            end = start + _SIZE.size + _SIZE.unpack_from(self._received, start)[0]
            if end > len(self._received):
                break
            with memoryview(self._received) as received:
                message = pickle.loads(received[start + _SIZE.size : end])  # noqa: S301  # from our own
            start = end
            self._handle(*message)
        del self._received[:start]

    def _handle(self, number: int, name: str, said: tuple[Any, ...]) -> None:
        if number >= 0:
            self._handler(name, said, lambda answer: self._answer(number, answer))
            return
        future = self._awaited.pop(-number, None)
        if future is None or future.done():  # nobody waits for it any more
            return
        if name == "problem":
            future.set_exception(Problem(*said))
        else:
            future.set_result(*said)

    def _answer(self, number: int, answer: object) -> None:
        if number and isinstance(answer, Problem):
            self._send((-number, "problem", (answer.type, answer.detail, answer.headers)))
        elif number:
            self._send((-number, "answer", (answer,)))

    def _send(self, message: tuple[int, str, tuple[object, ...]]) -> None:
        self._to_send.append(_packed(message))
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._to_send and not self._gone.is_set():
            self._transport.write(b"".join(self._to_send))
        self._to_send.clear()


def _packed(message: tuple[int, str, tuple[object, ...]]) -> bytes:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _SIZE.pack(len(data)) + data


def _engine_gone() -> Problem:
    return Problem("model-not-ready", headers={"Retry-After": "5"})
