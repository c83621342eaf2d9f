"""What the routes share: settings, metrics, the decode processes, the generator, and how far the service's life is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from app.api.admission import Admission
from app.api.problems import Problem
from app.api.rate_limit import RateLimiter
from app.images.decode import DecodedImage
from app.images.pool import DecodePool
from app.inference.errors import GenerationError, StudyError
from app.inference.served_model import ReportGenerator
from app.settings import Settings
from app.telemetry import Metrics, request_context

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


class RequestSlot:
    """One request in the house. It owns the bytes held for it: its upload, then the images decoded from that."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._held_bytes = 0
        self.files: list[bytearray] = []
        self.task = asyncio.current_task()

    def hold_chunk(self, chunk: bytes) -> None:
        """A piece of the upload is to be kept. Raises the problem `overloaded` when all together hold too much."""
        self._hold(len(chunk))

    def hold_image(self, image: DecodedImage) -> None:
        """An image is to be kept. Raises the problem `overloaded` when all together hold too much."""
        self._hold(image.pixels.nbytes + len(image.header or b""))

    def drop_files(self) -> None:
        """The images are there: their files are let go."""
        self._keep(-sum(map(len, self.files)))
        self.files.clear()

    def leave(self) -> None:
        """Nothing is held any more."""
        self._keep(-self._held_bytes)

    def _hold(self, size: int) -> None:
        if self._service.held_bytes + size > self._service.settings.max_buffered_bytes:
            raise self._service.overloaded()
        self._keep(size)

    def _keep(self, size: int) -> None:
        self._held_bytes += size
        self._service.held_bytes += size

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """Until the study is in the engine's queue it counts as if it were. Raises the problem `overloaded`."""
        self._service.check_room()
        self._service.admission.entered(_request_id())
        self._service.preparing += 1
        try:
            yield
        finally:
            self._service.preparing -= 1


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

    @property
    def max_images(self) -> int:
        """Images of one study, by the settings and by the checkpoint."""
        views = self.generator.model.limits.max_views if self.generator else self.settings.max_images
        return min(self.settings.max_images, views)

    def working_parts(self) -> tuple[ReportGenerator, DecodePool]:
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
        for slot in self.slots:
            if slot.task is not None:
                slot.task.cancel()

    def unavailable(self) -> Problem:
        """Why there is no report to be had."""
        return Problem("draining" if self.phase is Phase.DRAINING else "model-not-ready", headers={"Retry-After": "5"})

    @property
    def full(self) -> bool:
        """Whether the request at hand finds no room: too many in the house, or a queue it would not get through."""
        if self.generator is None or not self.generator.ready:
            return False  # which is another problem
        return len(self.slots) >= self.settings.max_requests or not self._has_room()

    def check_room(self) -> None:
        """Raises the problem `overloaded` when another study would find the queue full, or not be done in time."""
        if not self._has_room():
            raise self.overloaded()

    def _has_room(self) -> bool:
        return self.admission.admits(_request_id(), *self._backlog())

    def overloaded(self) -> Problem:
        """The refusal of the request at hand, saying when to come back."""
        return self.admission.refuse(_request_id(), *self._backlog())

    def _backlog(self) -> tuple[int, float]:
        """Studies that wait, and the seconds the engine takes for one, of late."""
        if self.generator is None:
            return self.preparing, 1.0
        depth = self.generator.queue_depth
        return depth + self.preparing, self.generator.retry_after() / (depth + 1)

    @contextmanager
    def admit(self) -> Iterator[RequestSlot]:
        """Lets one report request in, which `OverloadMiddleware` found room for."""
        with self._in_house() as slot:
            try:
                yield slot
                self.failures = 0
            except StudyError:  # which the engine got over
                self.failures = 0
                raise
            except GenerationError:
                self.failures += 1
                raise

    @contextmanager
    def hold(self) -> Iterator[RequestSlot]:
        """Lets one request in that asks nothing of the engine. Raises the problem `overloaded`."""
        if len(self.slots) >= self.settings.max_requests:
            raise self.overloaded()
        with self._in_house() as slot:
            yield slot

    @contextmanager
    def _in_house(self) -> Iterator[RequestSlot]:
        slot = RequestSlot(self)
        self.slots.add(slot)
        try:
            yield slot
        except asyncio.CancelledError:
            if self.phase is not Phase.FAILED or slot.task is None:
                raise
            slot.task.uncancel()
            raise self.unavailable() from None
        finally:
            self.slots.discard(slot)
            slot.leave()


def _request_id() -> str:
    return request_context.get().get("request_id", "")


def service_of(request: Request) -> Service:
    """The application's service."""
    return cast(Service, request.app.state.service)


async def _get_service(request: Request) -> Service:  # async, or FastAPI calls it in a thread
    return service_of(request)


ServiceDep = Annotated[Service, Depends(_get_service)]
