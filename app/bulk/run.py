"""Many studies under way at once, each until it has its line: who is away is waited for, who refuses is believed."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from app.bulk.capacity import Capacity, Room
from app.bulk.listing import Listing
from app.bulk.reporters import Reporter
from app.bulk.results import Results
from app.bulk.study import Outcome, Problem, StopError, Study, ToldToStopError
from app.retry import Pause
from app.service_client import ProblemError, UnreachableError

# Of how we are set up, the same for every study.
_OURS = (401, 403, 404, 405, 406)
# What is asked again without end: the service is away, full, or wants us to be slower.
_LATER = (408, 429, 502, 503)
# What another try may mend.
_FAILURES = (500, 504)
_TRIES = 3
_MAX_PAUSE_SECONDS = 30.0
_SYNC_SECONDS = 1.0


class Progress(Protocol):
    """Who is told how far it is."""

    def finished(self, outcome: Outcome) -> None:
        """One more study has its line."""

    def waiting(self, reason: str) -> None:
        """Nothing comes of it at the moment; "" once it does."""


class Run:
    """The studies of a listing that have no line yet, asked of a reporter."""

    def __init__(
        self,
        reporter: Reporter,
        listing: Listing,
        results: Results,
        capacity: Capacity,
        progress: Progress,
        patience_seconds: float,
        stopping: asyncio.Event,
    ) -> None:
        """A reporter that is away for longer than `patience_seconds` ends the run. With `stopping` set, what was sent
        is waited for, and nothing else."""
        self._reporter, self._listing, self._results = reporter, listing, results
        self._capacity, self._progress, self._patience_seconds = capacity, progress, patience_seconds
        self._stopping = stopping
        self._studies = (study for study in listing.studies if study.key not in results)  # one for all workers
        self._room = Room()
        self._pause = Pause(_MAX_PAUSE_SECONDS)
        self._nobody_before = 0.0
        self._last_seen = time.monotonic()
        self.finished = 0
        self.problems: Counter[str] = Counter()

    async def work(self) -> None:
        """Until every study has its line, or it is told to stop: then those that were sent are waited for.

        Raises `StopError`. Whatever ends it, the lines so far are kept.
        """
        syncing = asyncio.create_task(self._sync_now_and_then())
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._capacity.in_flight):
                    workers.create_task(self._worker())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # the first to fail; the others were cancelled
        finally:
            syncing.cancel()

    async def _worker(self) -> None:
        for study in self._studies:
            if self._stopping.is_set():
                return
            outcome = await self._outcome(study)
            if outcome is None:
                return
            self._results.append(outcome)
            self.finished += 1
            if outcome.problem:
                self.problems[outcome.problem.type] += 1
            self._progress.finished(outcome)

    async def _outcome(self, study: Study) -> Outcome | None:
        """None when it was told to stop before."""
        if study.problem:
            return Outcome(study, problem=study.problem)
        paths = [self._listing.root / name for name in study.files]
        held = 0
        try:
            sizes = await asyncio.to_thread(_sizes, paths)
            if problem := self._capacity.refusal(sizes):
                return Outcome(study, problem=problem)
            await self._room.take(sum(sizes))
            held = sum(sizes)
            files = await asyncio.to_thread(_read, paths)
        except OSError as error:
            return Outcome(study, problem=Problem("unreadable-file", error.strerror or "It cannot be read."))
        else:
            return await self._asked(study, files)
        finally:
            await self._room.give_back(held)

    async def _asked(self, study: Study, files: Sequence[bytes]) -> Outcome | None:
        """Asks until there is an answer. The service knows by the id whom it told to come back."""
        request_id, own = uuid.uuid4().hex, Pause(_MAX_PAUSE_SECONDS)
        failures = 0
        while await self._sleep(self._nobody_before - time.monotonic()):
            try:
                answer = await self._reporter.report(files, request_id)
            except UnreachableError as error:
                self._away(str(error), None)
            except ProblemError as error:
                if error.status in _LATER:
                    await self._later(error, own)
                    continue
                self._seen()
                failures += error.status in _FAILURES
                if error.status not in _FAILURES or failures == _TRIES:
                    return Outcome(study, problem=_of_study(error))
                await self._sleep(own.next())
            else:
                self._seen()
                return Outcome(study, answer=answer)
        return None

    async def _later(self, error: ProblemError, own: Pause) -> None:
        """A full service gives each study its own moment; one that is away, or that limits us, is the same to all."""
        if error.type == "overloaded":
            self._seen()
            await self._sleep(own.next(error.retry_after))
        elif error.status == 429:
            self._last_seen = time.monotonic()
            self._pause_all(error.type, error.retry_after)
        else:
            self._away(error.type, error.retry_after)

    def _seen(self) -> None:
        self._last_seen = time.monotonic()
        self._pause.reset()
        self._progress.waiting("")

    def _away(self, reason: str, retry_after: float | None) -> None:
        away = time.monotonic() - self._last_seen
        if away > self._patience_seconds:
            raise StopError(
                f"the service has been away for {away:.0f} s ({reason}); the same command goes on from here"
            )
        self._pause_all(reason, retry_after)

    def _pause_all(self, reason: str, retry_after: float | None) -> None:
        """Whoever is first to hear of it says how long all wait."""
        now = time.monotonic()
        if now >= self._nobody_before:
            self._nobody_before = now + self._pause.next(retry_after)
            self._progress.waiting(reason)

    async def _sleep(self, seconds: float) -> bool:
        """Whether to go on: False once it was told to stop."""
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)
        return not self._stopping.is_set()

    async def _sync_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            await asyncio.to_thread(self._results.sync)


async def describe(reporter: Reporter, stopping: asyncio.Event, patience_seconds: float) -> Mapping[str, Any]:
    """What there is to ask, as soon as it answers. Raises `StopError`."""
    pause, started = Pause(_MAX_PAUSE_SECONDS), time.monotonic()
    while True:
        try:
            return await reporter.model()
        except UnreachableError as error:
            reason, later = str(error), None
        except ProblemError as error:
            if error.status not in _LATER:
                raise StopError(_setup(error)) from error
            reason, later = error.type, error.retry_after
        if time.monotonic() - started > patience_seconds:
            raise StopError(f"the service does not answer: {reason}")
        try:
            await asyncio.wait_for(stopping.wait(), pause.next(later))
        except TimeoutError:
            continue
        raise ToldToStopError


def _of_study(error: ProblemError) -> Problem:
    """Raises `StopError` for what every study would get."""
    if error.status in _OURS or error.type == "invalid-options":
        raise StopError(_setup(error)) from error
    return Problem(error.type, error.detail)


def _setup(error: ProblemError) -> str:
    if error.status in (401, 403):
        return "the service does not let us in: --api-key-file names the file of its key"
    return error.detail or f"the service answers {error.type}"


def _sizes(paths: Sequence[Path]) -> list[int]:
    return [path.stat().st_size for path in paths]


def _read(paths: Sequence[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]
