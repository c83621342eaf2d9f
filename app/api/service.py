"""What the routes share: settings, metrics, the decode processes, the generator, and how far the service's life is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Annotated, cast

from fastapi import Depends, Request

from app.api.problems import Problem
from app.images.sandbox import DecodePool
from app.inference.engine import EngineFullError, GenerationError
from app.inference.generator import Generator
from app.settings import Settings
from app.telemetry import Metrics


# So many studies in a row that the engine fails at are no longer the studies' fault.
FAILURES_IN_A_ROW = 5


class Phase(Enum):
    """Where in its life the service is."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Visit:
    """One report request in the house, and the upload bytes held for it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.held_bytes = 0
        self.task = asyncio.current_task()

    def hold(self, size: int) -> None:
        """Counts `size` more bytes. Raises `EngineFullError` when all requests together hold too many."""
        if self._service.held_bytes + size > self._service.settings.max_buffered_bytes:
            raise EngineFullError(self._service.usual_seconds)
        self._service.held_bytes += size
        self.held_bytes += size


class Service:
    """One a running application; used on the event loop's thread only."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.phase = Phase.STARTING
        self.generator: Generator | None = None
        self.decoder: DecodePool | None = None
        self.visits: set[Visit] = set()
        self.failures = 0  # studies in a row that the engine failed at
        self.held_bytes = 0
        self.usual_seconds = 1.0

    @property
    def ready(self) -> bool:
        """Whether balancers should send requests here."""
        able = self.generator is not None and self.generator.ready and not self.stalled
        return self.phase is Phase.READY and able

    @property
    def turn_seconds(self) -> float:
        """How long the engine's turn at work has lasted; 0 while idle."""
        return self.generator.turn_seconds if self.generator else 0.0

    @property
    def failing(self) -> bool:
        """Whether the engine fails at whatever it is given."""
        return self.failures >= FAILURES_IN_A_ROW

    @property
    def stalled(self) -> bool:
        """Whether the engine gets nothing done, which may pass."""
        return self.failing or self.turn_seconds > self.settings.stall_seconds

    @property
    def broken(self) -> bool:
        """Whether only a restart helps."""
        died = self.phase is Phase.READY and self.generator is not None and not self.generator.alive
        return died or self.phase is Phase.FAILED

    @property
    def max_images(self) -> int:
        """Images of one study, by the settings and by the checkpoint."""
        views = self.generator.limits.max_views if self.generator else self.settings.max_images
        return min(self.settings.max_images, views)

    def working_parts(self) -> tuple[Generator, DecodePool]:
        """The generator and the decoder. Raises the problem `model-not-ready` or `draining`.

        A draining service still takes what balancers send until the server stops listening.
        """
        if self.generator is None or self.decoder is None or not self.generator.ready:
            raise self.unavailable()
        return self.generator, self.decoder

    def drain(self) -> None:
        """From now on /readyz fails."""
        if self.phase is not Phase.FAILED:
            self.phase = Phase.DRAINING

    def fail(self) -> None:
        """From now on only a restart helps; whoever waits for a report is told."""
        self.phase = Phase.FAILED
        for visit in self.visits:
            if visit.task is not None:
                visit.task.cancel()

    def unavailable(self) -> Problem:
        """Why there is no report to be had."""
        return Problem("draining" if self.phase is Phase.DRAINING else "model-not-ready", headers={"Retry-After": "5"})

    @contextmanager
    def admit(self) -> Iterator[Visit]:
        """Lets one report request in. Raises `EngineFullError` before anything is read when there is no room."""
        full = self.generator is not None and self.generator.queue_depth >= self.settings.max_queue
        if full or len(self.visits) >= self.settings.max_requests:
            raise EngineFullError(self.usual_seconds)
        visit, entered = Visit(self), time.monotonic()
        self.visits.add(visit)
        try:
            yield visit
            self.failures = 0
        except GenerationError:
            self.failures += 1
            raise
        except asyncio.CancelledError:
            if self.phase is not Phase.FAILED or visit.task is None:
                raise
            visit.task.uncancel()
            raise self.unavailable() from None
        finally:
            self.visits.discard(visit)
            self.held_bytes -= visit.held_bytes
            self.usual_seconds += 0.1 * (time.monotonic() - entered - self.usual_seconds)


async def get_service(request: Request) -> Service:  # async, or FastAPI calls it in a thread
    """The application's service."""
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(get_service)]
