"""What the routes share: settings, metrics, the decode processes, the generator, and how far the service's life is.

What is asked of the engine's owner is a coroutine: with several fronts it is another process, and
`app/server/front_service.py` asks it there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

from fastapi import Depends, Request

from app.api.admission import Admission
from app.api.problems import Problem
from app.api.rate_limit import RateLimiter
from app.api.request_slot import HouseFullError, RequestSlot, request_id
from app.images.pool import DecodePool
from app.inference.errors import EngineFullError, EngineStoppedError, GenerationError, StudyError
from app.inference.served_model import ReportGenerator, ServedModel
from app.settings import Settings
from app.telemetry import Metrics

# Its HTTP client is slow to import, and not every service needs it.
if TYPE_CHECKING:
    from app.dicomweb.client import DicomWebClient

# So many studies in a row that the engine fails at are no longer the studies' fault.
FAILURES_IN_A_ROW = 5


class Phase(Enum):
    """Where in its life the service is."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Condition:
    """Where in its life the service is, whether balancers should send requests, and whether only a restart helps."""

    phase: Phase
    ready: bool
    unrecoverable: bool


Slot = TypeVar("Slot", bound=RequestSlot)


class Service:
    """One a running application; used on the event loop's thread only."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.phase = Phase.STARTING
        self.generator: ReportGenerator | None = None
        self.decoder: DecodePool | None = None
        self.dicomweb: DicomWebClient | None = None
        self.slots: set[RequestSlot] = set()
        self.held_bytes = 0  # by all of them
        self.failures = 0  # studies in a row that the engine failed at
        self.preparing = 0  # studies that were received and are not yet in the engine's queue
        self.admission = Admission(settings.max_queue, settings.request_deadline_seconds)
        self.rate_limiter = (
            RateLimiter(settings.rate_limit_per_minute, settings.rate_limit_burst)
            if settings.rate_limit_per_minute
            else None
        )

    @property
    def model(self) -> ServedModel | None:
        """What is served, once it is loaded."""
        return self.generator.model if self.generator else None

    @property
    def held_by_all(self) -> int:
        """Bytes held for requests, of other fronts, too."""
        return self.held_bytes

    async def warm_up(self) -> None:
        """Has the engine try studies of its own. Raises what these fail with."""
        if self.generator is not None:
            await asyncio.to_thread(self.generator.warm_up)

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
    def unrecoverable(self) -> bool:
        """Whether only a restart helps."""
        died = self.phase is Phase.READY and self.generator is not None and not self.generator.alive
        return died or self.phase is Phase.FAILED

    async def condition(self) -> Condition:
        """For orchestrators."""
        return Condition(self.phase, self.ready, self.unrecoverable)

    async def exposition(self, names: Sequence[str]) -> bytes:
        """The metrics of all processes, as `Metrics.exposition` writes them."""
        return self.metrics.exposition(names)

    async def seconds_to_wait(self, client: str) -> float:
        """Counts a request of a client. 0 when it may go ahead, else for how long it must not."""
        return self.rate_limiter.take(client) if self.rate_limiter else 0.0

    @property
    def max_images(self) -> int:
        """Images of one study, by the settings and by the checkpoint."""
        views = self.model.limits.max_views if self.model else self.settings.max_images
        return min(self.settings.max_images, views)

    @property
    def takes_studies(self) -> bool:
        """Whether there is a warm engine. A draining service still takes what balancers send until the server stops
        listening."""
        return self.generator is not None and self.generator.ready

    def working_parts(self) -> tuple[ServedModel, DecodePool]:
        """The model and the decoder. Raises the problem `model-not-ready` or `draining`."""
        if self.model is None or self.decoder is None or not self.takes_studies:
            raise self.unavailable()
        return self.model, self.decoder

    def drain(self) -> None:
        """From now on /readyz fails."""
        if self.phase is not Phase.FAILED:
            self.phase = Phase.DRAINING

    def fail(self) -> None:
        """From now on only a restart helps; whoever waits for a report is told."""
        self.phase = Phase.FAILED
        for slot in self.slots:
            if slot.task is not None:
                slot.task.cancel()

    def unavailable(self) -> Problem:
        """Why there is no report to be had."""
        return Problem("draining" if self.phase is Phase.DRAINING else "model-not-ready", headers={"Retry-After": "5"})

    @property
    def full(self) -> bool:
        """Whether the request at hand finds no room: too many in the house, or a queue it would not get through."""
        if not self.takes_studies:
            return False  # which is another problem
        return len(self.slots) >= self.settings.max_requests or not self._has_room()

    def check_room(self) -> None:
        """Raises the problem `overloaded` when another study would find the queue full, or not be done in time."""
        if not self._has_room():
            raise self._overloaded()

    def _has_room(self) -> bool:
        return self.admission.admits(request_id(), *self._backlog())

    async def overloaded(self) -> Problem:
        """The refusal of the request at hand, saying when to come back."""
        return self._overloaded()

    def _overloaded(self) -> Problem:
        return self.admission.refuse(request_id(), *self._backlog())

    def _backlog(self) -> tuple[int, float]:
        """Studies that wait, and the seconds the engine takes for one, of late."""
        if self.generator is None:
            return self.preparing, 1.0
        depth = self.generator.queue_depth
        return depth + self.preparing, self.generator.retry_after() / (depth + 1)

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[RequestSlot]:
        """Lets one report request in, which `OverloadMiddleware` found room for. What the engine raises inside becomes
        the problem that it means to the request."""
        async with self._in_house(RequestSlot(self)) as slot:
            try:
                yield slot
                self.failures = 0
            except StudyError:  # which the engine got over
                self.failures = 0
                raise
            except GenerationError:
                self.failures += 1
                raise

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[RequestSlot]:
        """Lets one request in that asks nothing of the engine. Raises the problem `overloaded`."""
        if len(self.slots) >= self.settings.max_requests:
            raise self._overloaded()
        async with self._in_house(RequestSlot(self)) as slot:
            yield slot

    @asynccontextmanager
    async def _in_house(self, slot: Slot) -> AsyncIterator[Slot]:
        self.slots.add(slot)
        try:
            yield slot
        except asyncio.CancelledError:
            if self.phase is not Phase.FAILED or slot.task is None:
                raise
            slot.task.uncancel()
            raise self.unavailable() from None
        except (EngineFullError, HouseFullError) as error:
            raise await self.overloaded() from error
        except EngineStoppedError as error:
            raise self.unavailable() from error
        finally:
            self.slots.discard(slot)
            slot.leave()


def service_of(request: Request) -> Service:
    """The application's service."""
    return cast(Service, request.app.state.service)


async def _get_service(request: Request) -> Service:  # async, or FastAPI calls it in a thread
    return service_of(request)


ServiceDep = Annotated[Service, Depends(_get_service)]
