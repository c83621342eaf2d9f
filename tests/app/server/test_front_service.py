"""What fronts ask of the process with the engine, over real pairs of sockets: one service admits for all of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from app.api.admission import Admission
from app.api.problems import Problem
from app.api.request_slot import RequestSlot
from app.api.service import Phase, Service
from app.inference.errors import EngineFullError, EngineStoppedError, StudyError
from app.inference.options import DecodingOptions
from app.inference.served_model import ServedModel
from app.report import Report
from app.server.channel import Channel
from app.server.desk import Desk
from app.server.front_service import FrontService
from app.settings import Settings, load_settings
from app.telemetry import Metrics, request_context

pytestmark = pytest.mark.anyio

FRONTS = 2
MODEL = cast(ServedModel, SimpleNamespace(limits=SimpleNamespace(max_views=2)))


class Engine:
    """A `ReportGenerator` that a second a study takes, and that answers what a test says."""

    model, ready, alive, turn_seconds = MODEL, True, True, 0.0

    def __init__(self) -> None:
        self.queue_depth = 0
        self.submitted: list[Future[Report]] = []
        self.error: Exception | None = None
        self.asked: tuple[Any, ...] = ()

    def retry_after(self) -> float:
        return self.queue_depth + 1.0

    def submit(self, *asked: Any, **more: Any) -> Future[Report]:
        if self.error:
            raise self.error
        self.asked = (*asked, more)
        self.submitted.append(Future())
        return self.submitted[-1]


class House:
    """The engine's side of some fronts, and these."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine()
        self.service = Service(settings, Metrics())
        self.service.generator = cast(Any, self.engine)
        self.service.phase = Phase.READY
        self.fronts: list[FrontService] = []


@asynccontextmanager
async def house(checkpoint: Path, **settings: Any) -> AsyncIterator[House]:
    made = House(load_settings(checkpoint=checkpoint, fronts=FRONTS, **settings))
    held = memoryview(bytearray(8 * FRONTS)).cast("q")
    ends: list[Channel] = []
    for place in range(FRONTS):
        here, there = socket.socketpair()
        desk = Desk(made.service, None)  # type: ignore[arg-type]  # no metrics are asked for
        ends.append(await Channel.over(here, desk.handle))
        ends.append(await Channel.over(there, lambda *_: None))
        made.fronts.append(FrontService(made.settings, Metrics(), ends[-1], MODEL, held, place))
        made.fronts[-1].follow(Phase.READY)
    yield made
    for end in ends:
        end.close()


def identified(name: str) -> None:
    request_context.set({"request_id": name})


async def test_bookings(tiny_checkpoint: Path) -> None:
    """Refused by whichever front, each gets the moment that it would get of one process, and comes in then."""
    async with house(tiny_checkpoint, max_queue=4) as made:
        made.engine.queue_depth = 4
        alone, told, expected = Admission(4, made.settings.request_deadline_seconds), [], []
        for i in range(6):
            identified(f"client {i}")
            with pytest.raises(Problem) as refusal:
                async with made.fronts[i % FRONTS].admit():
                    pass
            told.append((refusal.value.type, refusal.value.headers, refusal.value.detail))
            problem = alone.refuse(f"client {i}", 4, 1.0)
            expected.append((problem.type, problem.headers, problem.detail))
        assert told == expected
        assert int(told[-1][1]["Retry-After"]) > 6
        made.service.admission = Admission(4, 60.0, clock=lambda: 1e9)  # long after
        made.service.admission._bookings["client 0"] = 1e9 - 1
        made.engine.queue_depth = 3
        identified("newcomer")
        assert (await refused(made.fronts[0])).type == "overloaded"
        identified("client 0")
        async with made.fronts[1].admit() as slot, slot.queueing():
            assert made.service.preparing == 1


async def refused(front: FrontService) -> Problem:
    with pytest.raises(Problem) as refusal:
        async with front.admit():
            pass
    return refusal.value


async def test_room_is_one(tiny_checkpoint: Path) -> None:
    """A study that is decoded in one front takes room of the others; leaving gives it back."""
    async with house(tiny_checkpoint, max_queue=2) as made:
        first, second = made.fronts
        async with first.admit() as one, second.admit() as two, first.admit() as late, one.queueing(), two.queueing():
            assert made.service.preparing == 2
            assert (await refused(first)).type == "overloaded"
            with pytest.raises(Problem) as refusal:
                async with late.queueing():
                    pass
            assert refusal.value.type == "overloaded"
            assert refusal.value.headers["Retry-After"]
            assert not made.engine.submitted
        await settled(lambda: (made.service.preparing, len(made.service.slots)) == (0, 0))


async def settled(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what is told is heard a little later
            await asyncio.sleep(0.001)


def submitted(slot: RequestSlot) -> asyncio.Future[Report]:
    picture = np.eye(3, dtype=np.uint8)
    return slot.submit([picture], DecodingOptions(2), 1e12, operating_point="specific", heatmaps=True)


async def study(front: FrontService) -> Report:
    """A study of one picture, from its coming in to its report."""
    async with front.admit() as slot:
        async with slot.queueing():
            to_come = submitted(slot)
        return await to_come


async def test_study(tiny_checkpoint: Path) -> None:
    """What is submitted arrives as it is, and so does the report; then nothing is left of the request."""
    async with house(tiny_checkpoint) as made:
        identified("one")
        asking = asyncio.create_task(study(made.fronts[0]))
        await settled(lambda: made.engine.submitted)
        images, options, deadline, tag, more = made.engine.asked
        assert np.array_equal(images[0], np.eye(3, dtype=np.uint8))
        assert images[0].flags.writeable  # torch warns of others
        assert (options, deadline, tag) == (DecodingOptions(2), 1e12, {"request_id": "one"})
        assert more == {"operating_point": "specific", "heatmaps": True}
        report = Report((), (), (), ("a warning",), cast(Any, None))
        made.engine.submitted[0].set_result(report)
        assert await asking == report
        await settled(lambda: not made.service.slots)


async def test_leaving(tiny_checkpoint: Path) -> None:
    """A request that is cancelled, and all requests of a front that is gone, cancel their studies."""
    async with house(tiny_checkpoint) as made:
        left = asyncio.create_task(study(made.fronts[0]))
        lost = asyncio.create_task(study(made.fronts[1]))
        await settled(lambda: len(made.engine.submitted) == 2)
        left.cancel()
        await settled(lambda: sum(one.cancelled() for one in made.engine.submitted) == 1)
        made.fronts[1].channel.close()
        with pytest.raises(Problem) as gone:
            await lost
        assert gone.value.type == "model-not-ready"
        assert (await refused(made.fronts[1])).type == "model-not-ready"


@pytest.mark.parametrize(
    ("error", "problem", "failures"),
    [
        (StudyError("its own"), "internal-error", 0),
        (EngineFullError(3.0), "overloaded", 2),
        (EngineStoppedError(), "model-not-ready", 2),
        (ValueError("unforeseen"), "internal-error", 2),
    ],
)
async def test_errors(tiny_checkpoint: Path, error: Exception, problem: str, failures: int) -> None:
    """What the engine raises is the problem that it is in one process, and counts there."""
    async with house(tiny_checkpoint) as made:
        made.service.failures = 2
        made.engine.error = error
        with pytest.raises(Problem) as raised:
            await study(made.fronts[0])
        assert raised.value.type == problem
        assert ("Retry-After" in raised.value.headers) is (problem != "internal-error")
        assert made.service.failures == failures


async def test_giving_up(tiny_checkpoint: Path) -> None:
    """When only a restart helps, whoever waits is told, also who is still sending."""
    async with house(tiny_checkpoint) as made:
        waiting = asyncio.create_task(study(made.fronts[0]))
        await settled(lambda: made.engine.submitted)
        made.service.fail()
        with pytest.raises(Problem) as told:
            await waiting
        assert told.value.type == "model-not-ready"
        made.fronts[1].follow(made.service.phase)
        assert not made.fronts[1].takes_studies
        assert (await made.fronts[1].condition()).unrecoverable


async def test_bytes(tiny_checkpoint: Path) -> None:
    """What one front holds, another cannot."""
    async with house(tiny_checkpoint, max_buffered_bytes=2000) as made:
        first, second = made.fronts
        async with first.admit() as slot:
            slot.hold_chunk(bytes(1500))
            with pytest.raises(Problem) as full:
                async with second.hold() as other:
                    other.hold_chunk(bytes(501))
            assert full.value.type == "overloaded"
            assert full.value.headers["Retry-After"]
            async with second.hold() as other:
                other.hold_chunk(bytes(500))
        assert first.held_by_all == 0
