"""The server: takes its port, starts the application, serves until it is told to stop."""

from __future__ import annotations

import ipaddress
import logging
import math
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.api.service import Service
from app.images.sandbox import WorkerStartError
from app.inference.errors import CheckpointError, UnsupportedDeviceError
from app.server.connection import Connection
from app.server.watchdog import watched
from app.settings import Settings
from app.telemetry import configure_logging

logger = logging.getLogger(__name__)


class StartError(Exception):
    """The service cannot start; the message is for whoever started it."""


async def serve(settings: Settings, make_app: Callable[[Settings], FastAPI]) -> None:
    """Serves until SIGINT or SIGTERM. Raises `StartError`; a port that is taken is told before there is an app."""
    prepare(settings)
    with bind(settings.host, settings.port) as listener:
        app = make_app(settings)
        service: Service = app.state.service
        server = StoppableServer(server_config(app, settings), service)
        with start_errors():
            async with watched(service), app.router.lifespan_context(app):
                await server.serve(sockets=[listener])


def prepare(settings: Settings) -> None:
    """What comes before anything else in the process that was started by hand."""
    configure_logging(settings.log_level)
    if not settings.api_key_hashes and not _is_loopback(settings.host):
        logger.warning("reachable from other machines without API keys; see XRAY_REPORT_API_KEY_HASHES")


@contextmanager
def start_errors() -> Iterator[None]:
    """Raises what a lifespan raises as `StartError`."""
    try:
        yield
    except (CheckpointError, UnsupportedDeviceError, WorkerStartError) as error:
        raise StartError(str(error)) from error


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How an application is served."""
    connection = partial(Connection, head_seconds=settings.receive_deadline_seconds, metrics=app.state.service.metrics)
    return uvicorn.Config(
        app,
        http=connection,  # type: ignore[arg-type]  # it is called, and nothing else
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        lifespan="off",  # entered here, so that its errors arrive as they are
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
    )


class ListeningServer(uvicorn.Server):
    """Says where it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port, *_ = listener.getsockname()
            logger.info("listening", extra={"host": host, "port": port})


class StoppableServer(ListeningServer):
    """At SIGTERM /readyz fails first; connections are taken until balancers have had the time to see it."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._stop_at = math.inf

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Unlike uvicorn's, this does not raise the signal again in the end: a clean stop exits with 0.
        if self.should_exit:
            self.force_exit = True
        elif sig == signal.SIGINT or self._stop_at < math.inf:
            self.should_exit = True
        else:
            self._stop_at = time.monotonic() + self._service.settings.drain_delay_seconds
        self._service.drain()

    async def on_tick(self, counter: int) -> bool:
        return time.monotonic() >= self._stop_at or await super().on_tick(counter)


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound socket that does not listen yet: a port that is taken is known before the model loads.

    With `shared` others of ours may share the port, and have. Raises `StartError`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol left at 0, asyncio does not turn Nagle's algorithm off: 40 ms more a request.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
