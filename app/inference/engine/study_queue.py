"""Studies waiting for rows, first come first served among those whose images are ready.

What a turn of the engine does here does not grow with the number of those that wait: whoever has an end to its waiting
says so itself, by `ready` and `drop`, and deadlines are looked at from the earliest on.
"""

from __future__ import annotations

import heapq
import time

from app.inference.engine.request import StudyRequest
from app.inference.errors import EngineFullError


class StudyQueue:
    """A bounded queue that knows at what rate it is worked off. Changed only under the engine's lock."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._studies: dict[int, StudyRequest] = {}  # by number, in order
        # Numbers may outlast their study there, until they come first.
        self._ready: list[int] = []
        self._deadlines: list[tuple[float, int]] = []
        self._last_number = 0
        self._seconds_per_study = 1.0
        self._last_finish = 0.0

    def __len__(self) -> int:
        return len(self._studies)

    def add(self, study: StudyRequest) -> None:
        """Raises `EngineFullError` at the limit."""
        if len(self) >= self.limit:
            raise EngineFullError(self.retry_after())
        self._last_number = study.number = self._last_number + 1
        self._studies[study.number] = study
        if study.deadline is not None:
            heapq.heappush(self._deadlines, (study.deadline, study.number))

    def ready(self, study: StudyRequest) -> None:
        """The study's images are."""
        if study.number in self._studies:
            heapq.heappush(self._ready, study.number)

    def drop(self, study: StudyRequest) -> bool:
        """Nobody waits for its answer any more. Returns whether it was here."""
        return self._studies.pop(study.number, None) is not None

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
        """Whether a deadline has passed, or the first of those whose images are ready fits so many rows."""
        study, deadline = self._first_ready(), self.next_deadline()
        fits = study is not None and study.options.num_beams <= rows
        return fits or (deadline is not None and time.monotonic() > deadline)

    def next_deadline(self) -> float | None:
        """The earliest of the studies waiting."""
        while self._deadlines and self._deadlines[0][1] not in self._studies:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def take(self, rows: int, images: int) -> list[StudyRequest]:
        """Takes out studies of at most `rows` beams together, until they have `images` images. Fails those that are
        late.

        A study that does not fit holds back those behind it, or a wide one would wait for ever.
        """
        now = time.monotonic()
        while (deadline := self.next_deadline()) is not None and now > deadline:
            late = self._studies.pop(self._deadlines[0][1])
            late.expire_if_due(now)
        taken: list[StudyRequest] = []
        while images > 0 and (study := self._first_ready()) and study.options.num_beams <= rows:
            rows -= study.options.num_beams
            images -= 1 if study.views.exception() else len(study.views.result())
            study.admitted_at = now
            self.drop(study)
            taken.append(study)
        return taken

    def clear(self) -> list[StudyRequest]:
        """Takes out all."""
        studies = list(self._studies.values())
        self._studies.clear()
        return studies

    def _first_ready(self) -> StudyRequest | None:
        while self._ready and self._ready[0] not in self._studies:
            heapq.heappop(self._ready)
        return self._studies[self._ready[0]] if self._ready else None
