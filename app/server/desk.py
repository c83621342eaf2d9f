"""The requests of one front, as the process with the engine has them.

Each is a task that goes the way which a request goes without fronts (`app/api/reports.py`), as far as the engine is
concerned: so one `Service` admits, counts and refuses for all fronts, and what a front leaves behind is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from prometheus_client import Metric

from app.api.problems import Problem, problem_from
from app.api.service import Service
from app.server.channel import Reply
from app.telemetry import request_context


class Desk:
    """Answers one front; `handle` is its channel's handler."""

    def __init__(self, service: Service, metrics: Callable[[], Awaitable[list[list[Metric]]]]) -> None:
        """`metrics` are those of all processes."""
        self._service, self._metrics = service, metrics
        self._requests: dict[int, _Request] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, name: str, said: tuple[Any, ...], reply: Reply) -> None:
        """A message of the front."""
        match name:
            case "enter":
                number, wants_report, context = said
                entering = self._requests[number] = _Request(self._service, reply)
                entering.task = self._start(entering.attend(wants_report, context))
            case "queue" | "study":
                number, *asked = said
                self._requests[number].hear(tuple(asked), reply)
            case "leave":
                self._requests.pop(said[0]).leave()
            case "overloaded":
                self._start(_overloaded(self._service, said[0], reply))
            case "seconds to wait":
                self._start(_answer(reply, self._service.seconds_to_wait(*said)))
            case "condition":
                self._start(_answer(reply, self._service.condition()))
            case "metrics":
                self._start(_answer(reply, self._metrics()))

    def close(self) -> None:
        """The front is gone: whatever is made for it is dropped."""
        for task in self._tasks:
            task.cancel()
        self._requests.clear()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Request:
    """A request in the house. What its front asks is answered in turn: to be let in, for room in the queue, for its
    report. A problem is the answer to what is asked at the moment, or next."""

    task: asyncio.Task[None]

    def __init__(self, service: Service, reply: Reply) -> None:
        self._service, self._reply = service, reply
        self._said: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self._answered = False
        self._problem: Problem | None = None

    def hear(self, said: tuple[Any, ...], reply: Reply) -> None:
        """What the front says or asks next."""
        self._reply = reply
        if self._problem:
            reply(self._problem)
        else:
            self._said.put_nowait(said)

    def leave(self) -> None:
        """The front has done with it: what is under way is dropped."""
        if self._answered:
            self._said.put_nowait(())
        else:
            self.task.cancel()

    async def attend(self, wants_report: bool, context: Mapping[str, str]) -> None:
        """Lets it in and sees it through, until it leaves."""
        request_context.set(context)
        try:
            await (self._report() if wants_report else self._hold())
        except asyncio.CancelledError:
            if self.task.cancelling():
                raise
            self._fail(Problem("draining"))  # what it waited for was cancelled
        except Exception as error:
            self._fail(problem_from(error))

    def _fail(self, problem: Problem) -> None:
        self._problem = problem
        self._reply(problem)

    async def _hold(self) -> None:
        async with self._service.hold():
            self._answered = True
            self._reply(None)
            await self._said.get()

    async def _report(self) -> None:
        service = self._service
        if not service.takes_studies:
            raise service.unavailable()
        if service.full:
            raise await service.overloaded()
        async with service.admit() as slot:
            self._reply(None)
            await self._said.get()
            async with slot.queueing():
                self._reply(None)
                images, options, deadline, operating_point, heatmaps = await self._said.get()
                to_come = slot.submit(images, options, deadline, operating_point=operating_point, heatmaps=heatmaps)
            report = await to_come
            self._answered = True
            self._reply(report)
            await self._said.get()


async def _overloaded(service: Service, context: Mapping[str, str], reply: Reply) -> None:
    request_context.set(context)
    reply(await service.overloaded())


async def _answer(reply: Reply, work: Awaitable[object]) -> None:
    reply(await work)
