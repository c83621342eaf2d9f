"""Ends the process when only a restart helps: a step that hangs, a dead engine, an engine that fails at everything.

/readyz and /livez tell by themselves (`Service.stalled`, `Service.unrecoverable`); this acts on it. A native call that
hangs cannot be interrupted from Python, so the end is `os._exit`, after those who wait have got their 503. Behind it
stands the timer of `faulthandler`, a C thread that works when the event loop or the interpreter lock is stuck: exit
code 1.
It cannot tell these from a process that was stopped from outside for as long, which ends, too, once it goes on.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from app.api.service import Phase, Service

logger = logging.getLogger(__name__)

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h
_TICK_SECONDS = 0.25
_PROBE_PAUSE_SECONDS = 1.0
_GRACE_SECONDS = 1.0  # for the last answers to leave


@asynccontextmanager
async def watched(service: Service) -> AsyncIterator[None]:
    """Watches as long as the context lasts. While the service starts it only looks on: that takes what it takes."""
    watching = asyncio.create_task(_watch(service))
    try:
        yield
    finally:
        watching.cancel()
        faulthandler.cancel_dump_traceback_later()


async def _watch(service: Service) -> None:
    limit = service.settings.hang_seconds
    clock = asyncio.get_running_loop().time
    succeeded_at = clock()
    reported = False
    probe: asyncio.Task[None] | None = None
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        if service.phase is Phase.STARTING:
            continue
        faulthandler.dump_traceback_later(limit, exit=True)
        if service.stalled is not reported:
            reported = service.stalled
            logger.warning("the engine stalls" if reported else "the engine goes on")
        if not service.failing:
            succeeded_at = clock()
        elif probe is None or probe.done():
            probe = asyncio.create_task(_probe(service))
        if service.turn_seconds > limit:
            await _give_up(service, "a step hangs")
        if clock() - succeeded_at > limit:
            await _give_up(service, "every study fails")
        if service.unrecoverable:
            await _give_up(service, "the engine has stopped")


async def _probe(service: Service) -> None:
    """Tries studies of our own: not ready, we are sent none that could show that the engine works again."""
    try:
        await service.warm_up()
        service.failures = 0
    except Exception as error:
        logger.warning("the engine still fails: %s", type(error).__name__)
        await asyncio.sleep(_PROBE_PAUSE_SECONDS)


async def _give_up(service: Service, reason: str) -> NoReturn:
    """Answers those who wait with 503, and ends the process."""
    service.fail()
    logger.critical("giving up: %s", reason, extra={"exit_code": EXIT_CODE})
    await asyncio.sleep(_GRACE_SECONDS)
    os._exit(EXIT_CODE)
