"""A front's `Service`: what is the engine's owner's to say is asked there."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

from app.api.problems import Problem
from app.api.request_slot import RequestSlot
from app.api.service import Condition, Phase, Service
from app.inference.errors import EngineStoppedError
from app.inference.options import DecodingOptions, OperatingPoint
from app.inference.served_model import Image, ServedModel
from app.report import Report
from app.server.channel import Channel
from app.settings import Settings
from app.telemetry import Metrics, exposition_of, request_context


class FrontService(Service):
    """Of one front, which has decode workers and no engine."""

    def __init__(
        self, settings: Settings, metrics: Metrics, channel: Channel, model: ServedModel, held: memoryview, place: int
    ) -> None:
        """`held` are the bytes that each front holds, in memory that all see; this one's are at `place`."""
        self._all_held, self._place = held, place
        workers = math.ceil(settings.decode_workers / settings.fronts)
        super().__init__(settings.model_copy(update={"decode_workers": workers}), metrics)
        self.channel = channel
        self._model = model
        self._numbers = count(1)
        self._engine_started = asyncio.Event()

    def follow(self, phase: Phase) -> None:
        """The engine's process is in another phase."""
        if phase is Phase.DRAINING:
            self.drain()
        elif phase is Phase.FAILED:
            self.fail()
        if phase is not Phase.STARTING:
            self._engine_started.set()

    @property
    def model(self) -> ServedModel:
        """What the engine serves."""
        return self._model

    @property
    def held_bytes(self) -> int:
        """By requests of this front. No other writes it, so it needs no lock."""
        return int(self._all_held[self._place])

    @held_bytes.setter
    def held_bytes(self, value: int) -> None:
        self._all_held[self._place] = value

    @property
    def held_by_all(self) -> int:
        """By requests of all fronts."""
        return sum(self._all_held)

    async def warm_up(self) -> None:
        """Waits for the engine's own warming up."""
        await self._engine_started.wait()

    @property
    def takes_studies(self) -> bool:
        """Whether the engine did when last heard of; it says so itself when asked to let a request in."""
        return self._engine_started.is_set() and self.phase is not Phase.FAILED

    @property
    def full(self) -> bool:
        """Said when a request asks to be let in, and not before."""
        return False

    @property
    def unrecoverable(self) -> bool:
        """Whether only a restart helps."""
        return self.phase is Phase.FAILED

    async def condition(self) -> Condition:
        """The engine's, while this front takes requests."""
        if self.phase is not Phase.READY:
            return Condition(self.phase, ready=False, unrecoverable=self.unrecoverable)
        said: Condition = await self.channel.call("condition")
        self.follow(said.phase)
        return said

    async def exposition(self, names: Sequence[str]) -> bytes:
        """The metrics of all processes together."""
        return exposition_of(await self.channel.call("metrics"), names)

    async def seconds_to_wait(self, client: str) -> float:
        """Counted over all fronts."""
        if self.rate_limiter is None:
            return 0.0
        seconds: float = await self.channel.call("seconds to wait", client)
        return seconds

    async def overloaded(self) -> Problem:
        """Booked among the refusals of all fronts."""
        try:
            await self.channel.call("overloaded", _context())
        except Problem as problem:
            return problem
        raise EngineStoppedError  # for it answers nothing else

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[RequestSlot]:
        """Lets one report request in, or raises the problem that the engine's process answers."""
        async with self._entered(wants_report=True) as slot:
            yield slot

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[RequestSlot]:
        """Lets one request in that asks nothing of the engine, or raises the problem `overloaded`."""
        async with self._entered(wants_report=False) as slot:
            yield slot

    @asynccontextmanager
    async def _entered(self, *, wants_report: bool) -> AsyncIterator[RequestSlot]:
        slot = _FrontSlot(self, next(self._numbers))
        try:
            async with self._in_house(slot):
                await self.channel.call("enter", slot.number, wants_report, _context())
                yield slot
        except BaseException:
            self.channel.tell("leave", slot.number)
            raise
        self.channel.mention("leave", slot.number)


class _FrontSlot(RequestSlot):
    """One request of a front; `number` is its name at the engine's process."""

    def __init__(self, service: FrontService, number: int) -> None:
        super().__init__(service)
        self._channel = service.channel
        self.number = number

    @asynccontextmanager
    async def queueing(self) -> AsyncIterator[None]:
        """From now on the study counts there as if it were in the queue, until it is or leaves. Raises the problem
        `overloaded` where there is no room, before anything is decoded."""
        await self._channel.call("queue", self.number)
        yield

    def submit(
        self,
        images: Sequence[Image],
        options: DecodingOptions,
        deadline: float,
        *,
        operating_point: OperatingPoint,
        heatmaps: bool,
    ) -> asyncio.Future[Report]:
        """Hands the study over. `deadline` means the same there: the clock is the machine's."""
        return self._channel.call("study", self.number, images, options, deadline, operating_point, heatmaps)


def _context() -> dict[str, str]:
    return dict(request_context.get())
