"""A front: a process that takes requests, and hands studies to the process with the engine (`app/server/fronts.py`)."""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from app.api.service import Phase, Service
from app.inference.served_model import ServedModel
from app.server.channel import Channel, Reply
from app.server.front_service import FrontService
from app.server.serve import ListeningServer, server_config
from app.server.watchdog import EXIT_CODE, watched
from app.settings import Settings
from app.telemetry import Metrics, configure_logging

logger = logging.getLogger(__name__)

# For the last answers to leave, once there is no engine.
_GRACE_SECONDS = 0.25

MakeApp = Callable[[Settings, Callable[[Settings, Metrics], Service]], FastAPI]


async def serve(listener: socket.socket, end: socket.socket, held: int, place: int, make_app: MakeApp) -> None:
    """Serves on `listener` until the process at the other side of `end` says so or is gone. `held` is the file of the
    bytes held by each front, this one's at `place`. Raises `WorkerStartError`."""
    front = _Front()
    channel = await Channel.over(end, front.handle)
    engine = asyncio.create_task(channel.until_gone())
    engine.add_done_callback(front.lose_engine)
    settings, model = await front.introduced
    configure_logging(settings.log_level)
    cells = memoryview(mmap.mmap(held, 0)).cast("q")
    app = make_app(settings, lambda given, metrics: FrontService(given, metrics, channel, model, cells, place))
    front.service = app.state.service
    front.service.follow(front.phase)
    async with watched(front.service), app.router.lifespan_context(app):
        front.server = _FrontServer(server_config(app, settings), channel)
        await front.server.serve(sockets=[listener])


class _FrontServer(ListeningServer):
    """Stops when the engine's process says so: signals are for that."""

    def __init__(self, config: uvicorn.Config, channel: Channel) -> None:
        super().__init__(config)
        self._channel = channel

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._channel.tell("listening")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Left to the engine's process."""


class _Front:
    """What the engine's process says to this one."""

    def __init__(self) -> None:
        self.introduced: asyncio.Future[tuple[Settings, ServedModel]] = asyncio.get_running_loop().create_future()
        self.phase = Phase.STARTING
        self.service: FrontService | None = None
        self.server: _FrontServer | None = None

    def handle(self, name: str, said: tuple[Any, ...], reply: Reply) -> None:
        """A message."""
        match name:
            case "introduction":
                settings, model, self.phase = said
                self.introduced.set_result((settings, model))
            case "phase":
                (self.phase,) = said
                if self.service is not None:
                    self.service.follow(self.phase)
            case "snapshot":
                reply(self.service.metrics.snapshot() if self.service else [])
            case "stop":
                self.stop(*said)

    def stop(self, force: bool) -> None:
        """Takes no more connections and answers those who wait; or not even that."""
        if self.server is None:
            os._exit(0)
        self.server.should_exit = True
        self.server.force_exit = force

    def lose_engine(self, _: object) -> None:
        """Without an engine's process there is nothing left but to say so."""
        if self.service is None or self.server is None or self.server.should_exit:
            os._exit(EXIT_CODE)
        logger.critical("giving up: the process with the engine is gone", extra={"exit_code": EXIT_CODE})
        for server in self.server.servers:
            server.close()
        self.service.fail()
        asyncio.get_running_loop().call_later(_GRACE_SECONDS, os._exit, EXIT_CODE)
