"""Messages between the process with the engine and a front: calls, their answers, and what needs none.

Messages are pickled, for both ends are our own and nobody else has the pair of sockets they go over. Pixels go beside
the pickle and are read to where they stay. What is sent in one turn of the event loop goes together, since a system
call costs either side more than a message.

A message is its size; how many buffers there are beside the pickle, and the size of each; the pickle; the buffers.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from itertools import accumulate, count, pairwise
from typing import Any, Protocol, cast

import numpy as np

from app.api.problems import Problem

_SIZE = struct.Struct("!Q")
_SOCKET_BYTES = 2**20
_SMALL_BYTES = 2**16  # messages read at once, but for one that is larger
_PATIENCE_SECONDS = 0.005  # of what may go with the next message

Reply = Callable[[object], None]
"""Takes the answer to a call; a `Problem` is raised where it was made. Of what was only told it takes nothing."""


_Message = tuple[int, str, tuple[Any, ...]]  # number of the call, or less than 0 of its answer; name; what is said


class Handler(Protocol):
    """What is called with each message of the other side: its name, what it says, and how to answer. Must not raise."""

    def __call__(self, name: str, said: tuple[Any, ...], reply: Reply, /) -> None: ...


class Channel(asyncio.BufferedProtocol):
    """One end. Used on the event loop's thread only."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._small = memoryview(bytearray(_SMALL_BYTES))
        self._body: memoryview | None = None  # of a message whose end has not come yet
        self._filled = 0  # of the body, or without one of the small buffer: then less than a size
        self._to_send: list[bytes | memoryview] = []
        self._flush_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = count(1)
        self._awaited: dict[int, asyncio.Future[Any]] = {}
        self._gone = asyncio.Event()

    @classmethod
    async def over(cls, end: socket.socket, handler: Handler) -> Channel:
        """Over one end of a `socket.socketpair`, which it owns from now on."""
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BYTES)
        _, channel = await asyncio.get_running_loop().create_unix_connection(lambda: cls(handler), sock=end)
        return channel

    def tell(self, name: str, *said: object) -> None:
        """Says something that is not answered."""
        self._send((0, name, said))

    def mention(self, name: str, *said: object) -> None:
        """Says something that is not answered, and that may wait some milliseconds for the next message."""
        self._to_send += _packed((0, name, said))
        if self._timer is None:
            self._timer = self._loop.call_later(_PATIENCE_SECONDS, self._flush)

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

    def get_buffer(self, sizehint: int) -> memoryview:
        """For asyncio."""
        return (self._small if self._body is None else self._body)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """For asyncio."""
        self._filled += nbytes
        if self._body is None:
            self._read_small()
        elif self._filled == len(self._body):
            body, self._body, self._filled = self._body, None, 0
            self._handle(*_unpacked(body))

    def _read_small(self) -> None:
        small, filled, start = self._small, self._filled, 0
        while filled - start >= _SIZE.size:
            begin = start + _SIZE.size
            (size,) = _SIZE.unpack_from(small, start)
            start = begin + size
            if start > filled:
                self._body = np.empty(size, np.uint8).data  # not zeroed first, unlike a bytearray
                self._filled = filled - begin
                self._body[: self._filled] = small[begin:filled]
                return
            self._handle(*_unpacked(memoryview(bytearray(small[begin:start]))))
        self._filled = filled - start
        small[: self._filled] = small[start:filled]

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

    def _send(self, message: _Message) -> None:
        self._to_send += _packed(message)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._to_send and not self._gone.is_set():
            self._transport.writelines(self._to_send)
        self._to_send.clear()


def _packed(message: _Message) -> list[bytes | memoryview]:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL, buffer_callback=buffers.append)
    beside = [buffer.raw() for buffer in buffers]
    sizes = [len(buffer) for buffer in beside]
    size = _SIZE.size * (1 + len(sizes)) + len(data) + sum(sizes)
    return [struct.pack(f"!{2 + len(sizes)}Q", size, len(sizes), *sizes) + data, *beside]


def _unpacked(body: memoryview) -> _Message:
    """The message whose size was before this. Its pixels stay where they are."""
    (number,) = _SIZE.unpack_from(body)
    sizes = struct.unpack_from(f"!{number}Q", body, _SIZE.size)
    ends = accumulate(sizes, initial=len(body) - sum(sizes))
    buffers = [body[start:end] for start, end in pairwise(ends)]
    message: _Message = pickle.loads(body[_SIZE.size * (1 + number) :], buffers=buffers)  # noqa: S301  # from our own
    return message


def _engine_gone() -> Problem:
    return Problem("model-not-ready", headers={"Retry-After": "5"})
