"""The service as a Ray Serve deployment: every replica is the application of `app/main.py` with an engine of its own.

What the server around the application does (`app/server/serve.py`) is done here for a replica: lifespan, watchdog,
readiness, drain. Serve listens, spreads requests and replaces replicas; there is no `@serve.batch`, for the engine
batches what is in flight.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import psutil
import ray
from fastapi import FastAPI
from ray import serve
from ray._common.network_utils import build_address
from ray.serve._private import replica as serve_replica
from ray.serve.metrics import Gauge
from starlette.middleware import Middleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.api.service import Phase, Service
from app.server.autoscaling import ACTIVE_ROWS, PROCESSOR, QUEUE_DEPTH
from app.server.replay import ReplayMiddleware
from app.server.watchdog import watched
from app.settings import PREFIX, Settings, load_settings
from app.telemetry import configure_logging

_TICK_SECONDS = 0.05


class NotReadyError(Exception):
    """The replica's engine gets nothing done: Serve replaces it when it says so three times in a row."""


class Replica:
    """One application, its engine and its decode processes."""

    def __init__(self, make_app: Callable[[Settings], FastAPI]) -> None:
        self._make_app = make_app
        self._leaving = asyncio.Event()
        self._gauges = {
            QUEUE_DEPTH: Gauge(f"xray_report_{QUEUE_DEPTH}", description="Studies waiting for the device."),
            ACTIVE_ROWS: Gauge(f"xray_report_{ACTIVE_ROWS}", description="Beams on the device."),
        }
        self._processors = _Processors()

    async def __serve_build_asgi_app__(self) -> FastAPI:  # the name that Serve calls
        """The application, loaded.

        Its lifespan is entered here, in a task of its own, for errors to arrive as they are: Serve would only say that
        start-up failed. Raises as that of `app.main.create_app`, and `SettingsError`.
        """
        _bind_to_the_node()
        settings = _settings()
        configure_logging(settings.log_level)
        app = self._make_app(settings)
        self._service: Service = app.state.service
        loaded = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(app, loaded))
        await asyncio.wait({loaded, self._life}, return_when=asyncio.FIRST_COMPLETED)
        if self._life.done():
            await self._life
        app.router.lifespan_context = self._until_left
        if settings.trusted_proxies:
            app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
        return app

    async def check_health(self) -> None:
        """For Serve, which calls it first when the application is there, and then every few seconds.

        Raises `NotReadyError`. By then the watchdog may have answered those who wait, and ended the process.
        """
        while self._service.phase is Phase.STARTING:  # noqa: ASYNC110  # as balancers ask
            await asyncio.sleep(_TICK_SECONDS)
        if not self._service.ready:
            raise NotReadyError("the engine gets nothing done")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `EngineLoad` decides by; Ray's metrics have it, too, for `/metrics` is one replica's."""
        registry = self._service.metrics.registry
        values = {name: registry.get_sample_value(f"xray_report_{name}") or 0.0 for name in self._gauges}
        for name, gauge in self._gauges.items():
            gauge.set(values[name])
        return {**values, PROCESSOR: self._processors.share()}

    async def _live(self, app: FastAPI, loaded: asyncio.Future[None]) -> None:
        async with watched(self._service), app.router.lifespan_context(app):
            loaded.set_result(None)
            await self._leaving.wait()

    @asynccontextmanager
    async def _until_left(self, app: FastAPI) -> AsyncIterator[None]:
        """The lifespan that is Serve's to end, once what was in flight is done."""
        yield
        self._leaving.set()
        with suppress(asyncio.CancelledError):
            await self._life


class _Processors:
    """How much of the processors that a replica was given it and its decode workers use."""

    def __init__(self) -> None:
        self._given = _processors() or os.cpu_count() or 1
        self._process = psutil.Process()
        self._last: tuple[float, float] | None = None

    def share(self) -> float:
        """0 to 1, or more where nothing holds it to what it was given; since the last call, and 0 at the first."""
        now, used = time.monotonic(), 0.0
        for process in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                used += sum(process.cpu_times()[:2])  # in user mode and in the kernel
        (before, used_before), self._last = self._last or (now, used), (now, used)
        # Less than before when a worker has gone.
        return max(0.0, used - used_before) / (self._given * (now - before)) if now > before else 0.0


def deployment(make_app: Callable[[Settings], FastAPI]) -> serve.Application:
    """The application for Serve. What is set here can be set anew in its configuration, deploy/ray/serve.yaml."""
    most = Settings.model_fields["max_requests"].default
    options = serve.deployment(
        name="reports",
        # The replica itself says when it is full, and when to come back: it must be asked.
        max_ongoing_requests=2 * most,
        max_queued_requests=2 * most,
        backpressure_config={"retry_after_s": 1},
        health_check_period_s=5,
        health_check_timeout_s=10,
        # At most as long as a request may take; an idle replica goes at once.
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=100,
        # A new replica answers before an old one goes, and one that cannot start is not tried for ever.
        max_surge_percent=100,
        max_constructor_retry_count=3,
    )
    return options(serve.ingress()(Replica)).bind(make_app)


def middlewares() -> list[Middleware]:
    """For `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`: what every proxy of Serve puts in front of itself."""
    settings = load_settings()
    return [
        Middleware(ReplayMiddleware, max_body_bytes=settings.max_body_bytes, max_kept_bytes=settings.max_buffered_bytes)
    ]


def _settings() -> Settings:
    """As everywhere, from the environment; threads are by default the processors that the replica was given."""
    given = {}
    if f"{PREFIX}THREADS" not in os.environ and (processors := int(_processors())):
        given = {"threads": processors}
    return load_settings(**given)


def _processors() -> float:
    """Those that the replica was given; 0 when Ray does not count them."""
    processors: float = ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0)
    return processors


def _bind_to_the_node() -> None:
    """Has the port of a replica that other deployments call (there are none) listen on its node's address alone.

    Serve has no setting for it: `[::]:0` stands in `_on_initialized` of its `replica.py`, which runs after this.
    """
    bind = serve_replica.add_port_to_grpc_server
    address = build_address(ray.util.get_node_ip_address(), 0)
    serve_replica.add_port_to_grpc_server = lambda server, everywhere: bind(server, address)
