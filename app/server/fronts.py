"""The process with the engine, where several fronts take the requests: starts them, replaces one that ends, and ends
with them.

Each front has a listening socket of its own on the one port, among which the kernel spreads connections. It stays open
here, so that those which nobody has taken yet wait for a front's successor.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

from prometheus_client import Metric

from app.api.problems import Problem
from app.api.service import Service
from app.images.sandbox import import_path
from app.server.channel import Channel, Reply
from app.server.desk import Desk
from app.server.serve import StartError, bind, prepare, start_errors
from app.server.watchdog import watched
from app.settings import Settings
from app.telemetry import summed

logger = logging.getLogger(__name__)

_MODULE = "app.front_process"
_TICK_SECONDS = 0.05
_SNAPSHOT_SECONDS = 1.0  # for a front to say what it has counted
_PAUSE_SECONDS = 1.0  # before one is started again that did not come to listen
_EXIT_SECONDS = 5.0  # for one to end that has nothing left to do


async def serve(
    settings: Settings,
    make_service: Callable[[Settings], Service],
    living: Callable[[Service], AbstractAsyncContextManager[None]],
) -> None:
    """Serves by `settings.fronts` processes until SIGINT or SIGTERM, as `app.server.serve.serve` does by this one.

    `living` loads the service that `make_service` made, and closes it. Raises `StartError`.
    """
    prepare(settings)
    with _listeners(settings) as listeners:
        service = make_service(settings)
        fronts = Fronts(service, listeners)
        with start_errors():
            async with fronts.kept(), watched(service), living(service):
                await fronts.serve()


@contextmanager
def _listeners(settings: Settings) -> Iterator[list[socket.socket]]:
    """A socket for each front. The first is bound alone, so that a port that is taken is known, and then shared."""
    with ExitStack() as stack:
        first = stack.enter_context(bind(settings.host, settings.port))
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        host, port, *_ = first.getsockname()
        yield [first, *(stack.enter_context(bind(host, port, shared=True)) for _ in range(1, settings.fronts))]


class Fronts:
    """The fronts of one service. Used on the event loop's thread only."""

    def __init__(self, service: Service, listeners: Sequence[socket.socket]) -> None:
        self._service, self._listeners = service, listeners
        self._held_file = os.memfd_create("held")
        os.ftruncate(self._held_file, 8 * len(listeners))
        self._held = memoryview(mmap.mmap(self._held_file, 0)).cast("q")
        self._keepers: list[asyncio.Task[None]] = []
        self._loaded = asyncio.Event()
        self._channels: dict[int, Channel] = {}  # of those at work, by their places
        self._snapshots: dict[int, list[Metric]] = {}  # what they had counted when last asked
        self._gone: list[Metric] = []  # and those before them
        self._draining = self._stopping = False

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """The processes start, and wait for the model; in the end none is left."""
        self._keepers = [asyncio.create_task(self._keep(place)) for place in range(len(self._listeners))]
        teller = asyncio.create_task(self._tell_phases())
        try:
            yield
        finally:
            teller.cancel()
            for keeper in self._keepers:
                keeper.cancel()
            await asyncio.gather(*self._keepers, return_exceptions=True)
            os.close(self._held_file)

    async def serve(self) -> None:
        """The model is there: requests are taken until a signal ends that. Raises `StartError`."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, self._handle_signal, sig)
        self._loaded.set()
        await asyncio.gather(*self._keepers)

    async def metrics(self) -> list[list[Metric]]:
        """What was counted here and in each front, also in those that have ended since."""
        await asyncio.gather(*(self._ask(place, channel) for place, channel in self._channels.items()))
        return [self._service.metrics.snapshot(), self._gone, *self._snapshots.values()]

    async def _ask(self, place: int, channel: Channel) -> None:
        with suppress(TimeoutError, Problem):  # then it is what it was
            async with asyncio.timeout(_SNAPSHOT_SECONDS):
                snapshot = await channel.call("snapshot")
            if self._channels.get(place) is channel:
                self._snapshots[place] = snapshot

    def _handle_signal(self, sig: signal.Signals) -> None:
        """As `StoppableServer` does: readiness first, connections later, and whoever repeats it is in a hurry."""
        self._service.drain()
        if self._stopping or self._draining or sig is signal.SIGINT:
            self._stop()
        else:
            self._draining = True
            asyncio.get_running_loop().call_later(self._service.settings.drain_delay_seconds, self._stop)

    def _stop(self) -> None:
        force, self._stopping = self._stopping, True
        for listener in self._listeners:
            listener.close()
        for channel in self._channels.values():
            channel.tell("stop", force)
        settings = self._service.settings
        seconds = settings.drain_seconds + settings.decode_deadline_seconds + _EXIT_SECONDS
        asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        """Nobody waits any more for what a front still does."""
        for channel in list(self._channels.values()):
            channel.close()

    async def _tell_phases(self) -> None:
        told = self._service.phase
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            if self._service.phase is not told:
                told = self._service.phase
                for channel in self._channels.values():
                    channel.tell("phase", told)

    async def _keep(self, place: int) -> None:
        """A front at this place, and another when it ends. Raises `StartError` when the first never listens."""
        began = False
        while not self._stopping:
            listened = asyncio.Event()
            code = await self._run(place, listened)
            if self._stopping:
                return
            if not (began or listened.is_set()):
                raise StartError(f"a front ended before it listened: exit code {code}")
            began = True
            logger.warning("a front has ended", extra={"exit_code": code})
            await asyncio.sleep(0.0 if listened.is_set() else _PAUSE_SECONDS)

    async def _run(self, place: int, listened: asyncio.Event) -> int:
        """One front from start to end. Returns its exit code."""
        desk = Desk(self._service, self.metrics)

        def handle(name: str, said: tuple[Any, ...], reply: Reply) -> None:
            if name == "listening":
                listened.set()
            desk.handle(name, said, reply)

        ours, theirs = socket.socketpair()
        with theirs:
            process = await _start(self._listeners[place].fileno(), theirs.fileno(), self._held_file, place)
        channel = await Channel.over(ours, handle)
        introduction = asyncio.create_task(self._introduce(place, channel))
        try:
            await channel.until_gone()
        finally:
            introduction.cancel()
            channel.close()
            desk.close()
            self._forget(place)
            code = await self._end(process)
        return code

    async def _introduce(self, place: int, channel: Channel) -> None:
        await self._loaded.wait()
        self._channels[place] = channel
        channel.tell("introduction", self._service.settings, self._service.model, self._service.phase)
        if self._stopping:
            channel.tell("stop", True)

    def _forget(self, place: int) -> None:
        """What it held is free; what it counted stays, and what it measured of itself does not."""
        self._channels.pop(place, None)
        self._held[place] = 0
        counted = (one for one in self._snapshots.pop(place, []) if one.type in ("counter", "histogram"))
        self._gone = summed([self._gone, counted])

    async def _end(self, process: asyncio.subprocess.Process) -> int:
        try:
            async with asyncio.timeout(_EXIT_SECONDS):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()


async def _start(listener: int, end: int, held: int, place: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", _MODULE),  # nothing of the folder that it is started in
        *map(str, (listener, end, held, place)),
        env=os.environ | {"PYTHONPATH": import_path()},
        stdin=asyncio.subprocess.DEVNULL,
        pass_fds=(listener, end, held),
        process_group=0,  # Ctrl-C is for this process, which then lets them finish; no session, as of decode workers
    )
