"""One run from its source to its summary."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.bulk.capacity import Capacity
from app.bulk.listing import list_studies
from app.bulk.progress import Shown
from app.bulk.reporters import Reporter
from app.bulk.results import Results, format_for
from app.bulk.run import Run, describe
from app.bulk.study import Grouping, ToldToStopError


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked for. `in_flight` None takes what keeps the device busy; `options` are the API's, as written."""

    source: Path
    out: Path
    grouping: Grouping
    in_flight: int | None
    patience_seconds: float
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of it: of `total` studies so many had a line `before`, and got one `now`, with these `problems`. In the
    file of results so many are `without` a report."""

    total: int
    before: int
    now: int
    problems: Counter[str]
    without: int
    passed_over: int
    in_flight: int
    seconds: float
    interrupted: bool


async def carry_out(job: Job, reporter: Reporter, shown: Shown) -> Summary:
    """Reports on every study that has no line yet, until told to stop by SIGINT or SIGTERM; told twice, at once.

    Raises `StopError`.
    """
    stopping = asyncio.Event()
    with _told_to_stop(stopping):
        model = await describe(reporter, stopping, job.patience_seconds)
        capacity = Capacity.of(model, job.options, job.in_flight)

        def seen(files: int) -> None:
            if stopping.is_set():
                raise ToldToStopError
            shown.looked_at(files)

        listing = await asyncio.to_thread(list_studies, job.source, job.grouping, capacity.max_images, seen)
        results = Results(job.out, format_for(job.out, model))
        try:
            before = sum(study.key in results for study in listing.studies)
            shown.begin(len(listing.studies), before)
            run = Run(reporter, listing, results, capacity, shown, job.patience_seconds, stopping)
            await run.work()
        finally:
            await asyncio.to_thread(results.close)
    return Summary(
        len(listing.studies),
        before,
        run.finished,
        run.problems,
        results.without,
        listing.passed_over,
        capacity.in_flight,
        shown.seconds,
        stopping.is_set() and before + run.finished < len(listing.studies),
    )


@contextmanager
def _told_to_stop(stopping: asyncio.Event) -> Iterator[None]:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        if stopping.is_set() and task is not None:
            task.cancel()
        stopping.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    try:
        yield
    except asyncio.CancelledError:
        raise ToldToStopError from None
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)
