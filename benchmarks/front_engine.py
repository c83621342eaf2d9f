"""What the process with the engine does for a request that a front took, when there is always another one waiting.

Its half of `app/server` in this process, with an engine that answers at once; fronts are processes that send nothing
but their messages, a picture of 512² with each study, so that what is found is this side's part alone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from dataclasses import dataclass
from typing import cast

import numpy as np
from prometheus_client import Metric

from app.api.service import Phase, Service
from app.inference.options import DecodingOptions
from app.inference.served_model import ReportGenerator, ServedModel
from app.server.channel import Channel
from app.server.desk import Desk
from app.server.front_service import FrontService
from app.settings import load_settings
from app.telemetry import Metrics, request_context
from benchmarks.instant_server import InstantGenerator, instant_generator

FRONTS, REQUESTS, SIDE = 2, 32, 512
_WARM = 2000  # requests after which all have started


@dataclass(frozen=True, slots=True)
class Part:
    """Requests a second, and processor seconds of each."""

    rate: float
    seconds: float


def measure(seconds: float) -> Part:
    """With `FRONTS` fronts, each of which has `REQUESTS` under way."""
    generator = instant_generator(load_settings())
    service = Service(load_settings(max_requests=10_000, max_queue=10_000), Metrics())
    service.generator, service.phase = cast(ReportGenerator, generator), Phase.READY
    return asyncio.run(_measure(service, generator, seconds))


async def _measure(service: Service, generator: InstantGenerator, seconds: float) -> Part:
    channels: list[Channel] = []
    for _ in range(FRONTS):
        ours, theirs = socket.socketpair()
        channels.append(await Channel.over(ours, Desk(service, _no_metrics).handle))
        multiprocessing.get_context("spawn").Process(target=_front, args=(theirs, generator.model), daemon=True).start()
        theirs.close()
    while generator.submitted < _WARM:  # noqa: ASYNC110  # it is looked at now and then
        await asyncio.sleep(0.1)
    before = time.monotonic(), time.process_time(), generator.submitted
    await asyncio.sleep(seconds)
    took, spent, answered = (
        time.monotonic() - before[0],
        time.process_time() - before[1],
        generator.submitted - before[2],
    )
    for channel in channels:
        channel.close()
    return Part(answered / took, spent / answered)


async def _no_metrics() -> list[list[Metric]]:
    return []


def _front(end: socket.socket, model: ServedModel) -> None:
    asyncio.run(_ask(end, model))


async def _ask(end: socket.socket, model: ServedModel) -> None:
    """Sends studies until the other side is gone."""
    channel = await Channel.over(end, lambda *_: None)
    front = FrontService(load_settings(), Metrics(), channel, model, memoryview(bytearray(8)).cast("q"), 0)
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    options = DecodingOptions()

    async def client(name: str) -> None:
        request_context.set({"request_id": name})
        while True:
            async with front.admit() as slot:
                async with slot.queueing():
                    report = slot.submit(
                        [picture], options, time.monotonic() + 60, operating_point="balanced", heatmaps=False
                    )
                await report

    clients = [asyncio.create_task(client(f"{i:032x}")) for i in range(REQUESTS)]
    await channel.until_gone()
    for one in clients:
        one.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
