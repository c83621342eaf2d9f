"""What is said at one end arrives at the other as it was, however it was cut up on the way."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import numpy as np
import pytest

from app.api.problems import Problem
from app.server.channel import Channel, Reply

pytestmark = pytest.mark.anyio


def echo(name: str, said: tuple[Any, ...], reply: Reply) -> None:
    reply(said)


async def pair() -> tuple[Channel, Channel]:
    here, there = socket.socketpair()
    return await Channel.over(here, echo), await Channel.over(there, echo)


@pytest.mark.parametrize("side", [0, 1, 8, 255, 256, 700])
async def test_pixels(side: int) -> None:
    """Pictures of any size, several at once and beside small messages, on the way there and back."""
    rng = np.random.default_rng(side)
    said = [rng.integers(0, 65536, (side, side + 1)).astype(np.uint16) for _ in range(3)]
    said.append(np.asfortranarray(rng.random((side, 2), np.float32)))
    said.append(said[0][::2, ::2])
    one, other = await pair()
    answers = await asyncio.gather(*(end.call("some", i, said) for i in range(10) for end in (one, other)))
    for i, answer in enumerate(answers):
        number, (heard,) = answer[0], answer[1:]
        assert number == i // 2
        for mine, theirs in zip(said, heard, strict=True):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)
            assert theirs.flags.writeable
    one.close()
    other.close()


async def test_cut_anywhere() -> None:
    """Messages that arrive byte by byte, or in any pieces, are the same messages."""
    heard: list[object] = []
    here, there = socket.socketpair()
    sent: list[bytes] = []
    one = await Channel.over(here, echo)
    one._transport.writelines = sent.extend  # type: ignore[method-assign, assignment]
    messages = [("a", 1), ("b" * 300, np.arange(40, dtype=np.uint8)), ("c",), ("d", np.zeros((300, 300), np.uint8))]
    for message in messages:
        one.tell("some", *message)
    await asyncio.sleep(0)
    stream = b"".join(sent)
    for step in (1, 3, 7, 8, 9, 64, 1000, 70_000, len(stream)):
        heard.clear()
        other = Channel(lambda name, said, reply: heard.append(said))
        for start in range(0, len(stream), step):
            piece = stream[start : start + step]
            while piece:
                buffer = other.get_buffer(-1)
                taken = piece[: len(buffer)]
                buffer[: len(taken)] = taken
                other.buffer_updated(len(taken))
                piece = piece[len(taken) :]
        assert [str(said) for said in heard] == [str(message) for message in messages]
    one.close()
    there.close()


async def test_what_may_wait() -> None:
    """A mention goes before the next message, or a little later by itself."""
    heard: list[str] = []
    here, there = socket.socketpair()
    one, other = await Channel.over(here, echo), await Channel.over(there, lambda name, *_: heard.append(name))
    one.mention("first")
    one.tell("second")
    one.mention("third")
    async with asyncio.timeout(10):
        while len(heard) < 3:  # noqa: ASYNC110  # it is said by nobody
            await asyncio.sleep(0.001)
    assert heard == ["first", "second", "third"]
    one.close()
    other.close()


async def test_problems_and_ends() -> None:
    """A problem is raised where it was asked for, with all it says; an end that is gone is one, now and later."""
    here, there = socket.socketpair()
    problem = Problem("overloaded", "Our own words.", {"Retry-After": "7"})
    one, other = await Channel.over(here, echo), await Channel.over(there, lambda name, said, reply: reply(problem))
    with pytest.raises(Problem) as raised:
        await one.call("some")
    assert vars(raised.value) == vars(problem)
    waiting = one.call("more")
    other.close()
    with pytest.raises(Problem) as gone:
        await waiting
    assert (gone.value.type, gone.value.headers) == ("model-not-ready", {"Retry-After": "5"})
    await one.until_gone()
    one.tell("nobody")
    with pytest.raises(Problem) as gone:
        await one.call("and more")
    assert gone.value.type == "model-not-ready"
    one.close()
