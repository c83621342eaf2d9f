"""A client that goes before its answer has come."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from app.api.problems import Problem

T = TypeVar("T")


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; when the client goes first, the work is cancelled: its rows are free at the next step."""
    task, left = asyncio.current_task(), False
    assert task  # noqa: S101  # narrows the type

    async def watch() -> None:
        nonlocal left
        while (await request.receive())["type"] != "http.disconnect":
            pass
        left = True
        task.cancel()

    leaving = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if left:
            task.uncancel()
            raise Problem("client-closed-request") from None
        if not task.cancelling():  # what it waited for was
            raise Problem("draining") from None
        raise
    finally:
        leaving.cancel()
