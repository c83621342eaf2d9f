"""Studies waiting for rows, first come first served among those whose images are ready."""

from __future__ import annotations

import time
from collections import deque

from app.inference.engine.request import StudyRequest
from app.inference.errors import EngineFullError


class StudyQueue:
    """A bounded queue that knows at what rate it is worked off. Changed only under the engine's lock."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._studies: deque[StudyRequest] = deque()
        self._seconds_per_study = 1.0
        self._last_finish = 0.0

    def __len__(self) -> int:
        return len(self._studies)

    def add(self, study: StudyRequest) -> None:
        """Raises `EngineFullError` at the limit."""
        if len(self) >= self.limit:
            raise EngineFullError(self.retry_after())
        self._studies.append(study)

    def retry_after(self) -> float:
        """Seconds until the queue of now is worked off, at the rate of late."""
        return (len(self) + 1) * self._seconds_per_study

    def finished(self, study: StudyRequest, now: float) -> None:
        """Learns the rate from a study that was answered."""
        # The rate is of finishes while busy: a pause before this study was queued says nothing about it.
        since = max(self._last_finish, study.queued_at)
        self._seconds_per_study += 0.1 * (now - since - self._seconds_per_study)
        self._last_finish = now

    def has_work(self, rows: int) -> bool:
        """Whether a study can be dropped, or the first of those whose images are ready fits so many rows."""
        now = time.monotonic()
        ready = next((study for study in self._studies if study.views.done()), None)
        fits = ready is not None and ready.options.num_beams <= rows
        return fits or any(study.expire_if_due(now) for study in self._studies)

    def deadlines(self) -> list[float]:
        """Those of the studies waiting."""
        return [study.deadline for study in self._studies if study.deadline is not None]

    def take(self, rows: int, images: int) -> list[StudyRequest]:
        """Takes out studies of at most `rows` beams together, until they have `images` images. Drops the answered."""
        now = time.monotonic()
        taken: list[StudyRequest] = []
        waiting: deque[StudyRequest] = deque()
        for study in self._studies:
            if study.expire_if_due(now):
                continue
            ready = study.views.done()
            if ready and images > 0 and study.options.num_beams <= rows:
                rows -= study.options.num_beams
                images -= 1 if study.views.exception() else len(study.views.result())
                study.admitted_at = now
                taken.append(study)
            else:
                # A study that does not fit holds back those behind it, or a wide one would wait for ever.
                if ready:
                    rows = 0
                waiting.append(study)
        self._studies = waiting
        return taken

    def clear(self) -> list[StudyRequest]:
        """Takes out all."""
        studies = list(self._studies)
        self._studies.clear()
        return studies
