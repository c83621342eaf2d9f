"""How long after their clients went the rows of studies are free, beside a neighbour who stays."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace

from benchmarks.client import Request, ask, leave
from benchmarks.server import Server

LEAVING, BEAMS = 4, 8
_ROWS = "xray_report_active_rows"
_STEP = "xray_report_stage_duration_seconds_{} step"


@dataclass(frozen=True, slots=True)
class Trial:
    """Seconds until the rows were free, seconds of a full step, whether the neighbour's report was right."""

    seconds: float
    step_seconds: float
    neighbour_right: bool


async def trials(server: Server, request: Request, number: int) -> list[Trial]:
    """Each with an otherwise idle server, so that the gauge of rows tells whose they are."""
    limits = json.loads((await ask(server.port, Request("GET", "/v1/model"))).body)["limits"]
    tokens = limits["max_new_tokens"]
    slow = replace(request, target=f"/v1/report?num_beams={BEAMS}&min_new_tokens={tokens}&max_new_tokens={tokens}")
    slow = replace(slow, expected=(await ask(server.port, slow)).text)
    return [await _trial(server, slow) for _ in range(number)]


async def _trial(server: Server, slow: Request) -> Trial:
    neighbour = asyncio.create_task(ask(server.port, slow))
    release = asyncio.Event()
    leaving = [asyncio.create_task(leave(server.port, slow, release.wait())) for _ in range(LEAVING)]
    while await _rows(server) < (LEAVING + 1) * BEAMS:  # noqa: ASYNC110  # only polling tells
        await asyncio.sleep(0.01)
    before = await server.metrics()
    await asyncio.sleep(0.3)  # some steps with all of them, to know how long one takes
    with_all = await server.metrics()
    release.set()
    await asyncio.gather(*leaving)
    left_at = time.perf_counter()
    while await _rows(server) > BEAMS:  # noqa: ASYNC110  # as above; without a pause asking is what would be measured
        await asyncio.sleep(0.002)
    seconds = time.perf_counter() - left_at
    total, count = (with_all[_STEP.format(part)] - before[_STEP.format(part)] for part in ("sum", "count"))
    return Trial(seconds, total / max(count, 1), (await neighbour).text == slow.expected)


async def _rows(server: Server) -> float:
    """The gauge alone: all metrics would take the server's interpreter from the engine, and the client longer than a
    step."""
    answer = await ask(server.port, Request("GET", f"/metrics?name[]={_ROWS}"))
    return float(answer.body.partition(f"\n{_ROWS} ".encode())[2].split(b"\n", 1)[0])
