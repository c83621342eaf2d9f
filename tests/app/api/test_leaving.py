"""Work that ends when its client goes, and what else may end it."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import Request
from starlette.types import Message

from app.api.leaving import unless_client_leaves
from app.api.problems import Problem

pytestmark = pytest.mark.anyio


class Client:
    """Has sent its request, and stays until it leaves."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.request = Request({"type": "http"}, self._receive)

    async def _receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def wait_for(future: asyncio.Future[str], seconds: float | None = None) -> str:
    async with asyncio.timeout(seconds):
        return await future


async def test_result() -> None:
    """The result is the work's; nobody goes on looking whether the client leaves."""
    client, future = Client(), asyncio.get_running_loop().create_future()
    future.set_result("report")
    before = asyncio.all_tasks()
    assert await unless_client_leaves(client.request, wait_for(future)) == "report"
    await asyncio.sleep(0)
    client.gone.set()
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == before


async def test_client_that_leaves() -> None:
    """The work is cancelled and the request fails as the client's; its task may go on awaiting."""
    client, future = Client(), asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(client.gone.set)
    with pytest.raises(Problem) as problem:
        await unless_client_leaves(client.request, wait_for(future))
    assert problem.value.type == "client-closed-request"
    assert future.cancelled()
    task = asyncio.current_task()
    assert task
    assert not task.cancelling()
    await asyncio.sleep(0)


async def test_work_that_is_dropped() -> None:
    """Where what the work waits for is cancelled by its owner, the service is being closed."""
    client, future = Client(), asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.cancel)
    with pytest.raises(Problem) as problem:
        await unless_client_leaves(client.request, wait_for(future))
    assert problem.value.type == "draining"


async def test_deadline() -> None:
    """The work's own deadline is no leaving."""
    client, future = Client(), asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError):
        await unless_client_leaves(client.request, wait_for(future, 0.01))


async def test_task_that_is_cancelled() -> None:
    """Cancelled from outside the request stays cancelled, whether its client leaves or not."""
    client, future = Client(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(unless_client_leaves(client.request, wait_for(future)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert future.cancelled()
