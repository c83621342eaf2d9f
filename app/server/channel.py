"""Messages between the process with the engine and a front: calls, their answers, and what needs none.

Messages are pickled, for both ends are our own and nobody else has the pair of sockets they go over.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, Protocol

from app.api.problems import Problem

_SIZE = struct.Struct("!Q")
_BUFFER_BYTES = 2**20  # a 512² picture, or some hundred small messages, at once

Reply = Callable[[object], None]
"""Takes the answer to a call; a `Problem` is raised where it was made. Of what was only told it takes nothing."""


class Handler(Protocol):
    """What is called with each message of the other side: its name, what it says, and how to answer. Must not raise."""

    def __call__(self, name: str, said: tuple[Any, ...], reply: Reply, /) -> None: ...


class Channel:
    """One end. Used on the event loop's thread only."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        self._reader, self._writer, self._handler = reader, writer, handler
        self._numbers = count(1)
        self._awaited: dict[int, asyncio.Future[Any]] = {}
        self._open = True

    @classmethod
    async def over(cls, end: socket.socket, handler: Handler) -> Channel:
        """Over one end of a `socket.socketpair`, which it owns from now on."""
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_BUFFER_BYTES), handler)

    def tell(self, name: str, *said: object) -> None:
        """Says something that is not answered."""
        self._send((0, name, said))

    def call(self, name: str, *said: object) -> asyncio.Future[Any]:
        """The answer to come. Fails with the problem the other side answered, or `model-not-ready` when it is gone."""
        future = asyncio.get_running_loop().create_future()
        if self._open:
            number = next(self._numbers)
            self._awaited[number] = future
            self._send((number, name, said))
        else:
            future.set_exception(_gone())
        return future

    async def listen(self) -> None:
        """Handles what the other side says, until it is gone."""
        try:
            with suppress(EOFError, OSError):
                while True:
                    (size,) = _SIZE.unpack(await self._reader.readexactly(_SIZE.size))
                    self._receive(*pickle.loads(await self._reader.readexactly(size)))  # noqa: S301  # from our own
        finally:
            self.close()

    def close(self) -> None:
        """Whoever waits for an answer gets none."""
        self._open = False
        self._writer.close()
        for future in self._awaited.values():
            if not future.done():
                future.set_exception(_gone())
        self._awaited.clear()

    def _receive(self, number: int, name: str, said: tuple[Any, ...]) -> None:
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
        if self._open:
            data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
            self._writer.writelines([_SIZE.pack(len(data)), data])


def _gone() -> Problem:
    return Problem("model-not-ready", headers={"Retry-After": "5"})
