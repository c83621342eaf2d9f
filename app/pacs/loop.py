"""The loop over the studies of one source: who is away is waited for, who fails waits alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from app.pacs.errors import AwayError, StudyFailedError
from app.pacs.metrics import PacsMetrics
from app.pacs.reporter import Candidate, Reporter
from app.retry import Pause

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Where studies come from."""

    @property
    def interval(self) -> float:
        """Seconds between two looks."""

    async def ready(self) -> Sequence[Candidate]:
        """Studies that seem complete, and are not known to be dealt with. Raises `AwayError`."""


class Loop:
    """Runs until it is cancelled, or told to stop between two studies."""

    def __init__(self, source: Source, reporter: Reporter, metrics: PacsMetrics, max_pause_seconds: float) -> None:
        self._source = source
        self._reporter = reporter
        self._metrics = metrics
        self._max_pause_seconds = max_pause_seconds
        self._pause = Pause(max_pause_seconds)
        # Studies that failed: each comes again at its moment, and holds up no other.
        self._failed: dict[str, tuple[Pause, float]] = {}
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Round after round."""
        while not self.stopping.is_set():
            try:
                await self._round()
            except AwayError as error:
                seconds = self._pause.next(error.retry_after)
                self._metrics.away(error.who)
                extra = {"who": error.who, "reason": str(error), "seconds": round(seconds, 1)}
                logger.warning("away", extra=extra)
            else:
                self._pause.reset()
                self._metrics.last_round.set(time.time())
                seconds = self._source.interval
            await self._sleep(seconds)

    async def _round(self) -> None:
        candidates = await self._source.ready()
        known = {candidate.study for candidate in candidates}
        self._failed = {study: entry for study, entry in self._failed.items() if study in known}
        for candidate in candidates:
            if self.stopping.is_set():
                return
            pause, moment = self._failed.get(candidate.study, (None, 0.0))
            if time.monotonic() < moment:
                continue
            try:
                await self._reporter.handle(candidate)
            except (AwayError, StudyFailedError) as error:
                # Also when somebody is away: it may be for this study that they are.
                pause = pause or Pause(self._max_pause_seconds)
                self._failed[candidate.study] = pause, time.monotonic() + pause.next()
                if isinstance(error, AwayError):
                    raise
                self._metrics.study("failed")
                logger.warning("study", extra={"outcome": "failed", "reason": str(error)})
            else:
                self._failed.pop(candidate.study, None)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            pass
