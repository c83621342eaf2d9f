"""One replica as threads that share its processors: event loop, decode workers, encoding, and the engine's steps.

Time jumps from event to event: between two of them nothing changes but how far everything is. Studies join and leave
between two steps, as in the engine; steps at which nobody does are taken at once.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field

from app.api.admission import Admission
from benchmarks.capacity.curve import Curve, Kind

PREFETCH = 2  # studies being encoded, next, or encoded and not yet joined: app.inference.engine.encoding_thread
DEADLINE_SECONDS = 60.0  # of a request, by default
_SECONDS, _STEPS = 1e-9, 1e-6  # less than this is done: what rounding leaves


@dataclass(slots=True)
class Study:
    """A study on its way: when it arrived, when the engine got to know of it, and when its report was answered."""

    arrived: float
    kind: Kind
    number: int
    queued: float = 0.0
    images: int = 0  # still to decode
    written: bool = False  # its report is
    finished: float = field(default=float("inf"))


@dataclass(slots=True)
class Task:
    """Work for one thread: seconds of it that are left, and whose it is."""

    left: float
    study: Study


class Replica:
    """Advances from event to event; `now` is the time it has come to."""

    def __init__(self, curve: Curve, now: float = 0.0) -> None:
        self.curve, self.now = curve, now
        self.taking = True  # whether new studies are sent here
        self.asked = 0  # when a study was sent here last, in order
        self.version = 0  # of what is known about its next event
        self.busy_seconds, self.core_seconds = 0.0, 0.0  # with anything to do; of its processors since it was looked at
        self.rows = 0  # beams in flight
        self.studies: dict[int, Study] = {}  # all that are here, by number
        self._step_seconds = [curve.step(rows) for rows in range(curve.max_rows + 1)]
        self._admission = Admission(curve.max_queue, DEADLINE_SECONDS, lambda: self.now)
        self._seconds_per_study, self._last_finish = 1.0, 0.0  # as app.inference.engine.study_queue knows them
        self._loop: deque[Task] = deque()  # of the event loop
        self._files: deque[Task] = deque()
        self._decoding: list[Task] = []
        self._taken = 0  # studies that were let in and are not answered
        self._preparing = 0  # of these, those whose images are being prepared
        self.queue: deque[Study] = deque()
        self._encoding: deque[Task] = deque()
        self._encoded: deque[Study] = deque()
        self._reserved = 0  # beams of these two
        self._active: list[tuple[float, int, Study]] = []  # by the step after which each is done
        self._steps, self._run = 0, 0  # taken so far, and at work: 0 while the engine idles
        self._run_left = 0.0  # seconds of these

    @property
    def outstanding(self) -> int:
        """How many are here."""
        return len(self.studies)

    def submit(self, study: Study) -> None:
        """Sends a study here; whether it is taken in shows when the event loop comes to it."""
        self.studies[study.number] = study
        self._loop.append(Task(study.kind.serve_seconds / 2, study))

    def advance(self, now: float) -> list[Study]:
        """Goes on to `now`, which must not be after the next event; the studies that leave then: those that were
        refused never finish."""
        elapsed, self.now = now - self.now, now
        if elapsed > 0.0:
            self._work(elapsed)
        left: list[Study] = []
        moving = True
        while moving:
            while self._serve(left) | self._decode() | self._end_steps() | self._encode():
                pass
            moving = self._begin_steps()
        return left

    def next_event(self) -> float:
        """When something here is done next; infinite while there is nothing to do."""
        processor, device = self._paces()
        soonest = float("inf")
        if self._loop:
            soonest = self._loop[0].left / processor
        for task in self._decoding:
            soonest = min(soonest, task.left / processor)
        if self._encoding:
            soonest = min(soonest, self._encoding[0].left / device)
        if self._run:
            soonest = min(soonest, self._run_left / device)
        return self.now + max(0.0, soonest)

    def _work(self, elapsed: float) -> None:
        processor, device = self._paces()
        at_work = len(self._decoding) + bool(self._loop)
        network = bool(self._encoding) + bool(self._run)
        if at_work or network:
            self.busy_seconds += elapsed
            self.core_seconds += elapsed * min(self.curve.cores, at_work + (0 if self.curve.accelerator else network))
        if self._loop:
            self._loop[0].left -= elapsed * processor
        for task in self._decoding:
            task.left -= elapsed * processor
        if self._encoding:
            self._encoding[0].left -= elapsed * device
        if self._run:
            self._run_left -= elapsed * device

    def _paces(self) -> tuple[float, float]:
        """How much of a second each thread gets done in one: of those on the processors, of encoding and steps."""
        at_work = len(self._decoding) + bool(self._loop)
        network = bool(self._encoding) + bool(self._run)
        if self.curve.accelerator:
            return min(1.0, self.curve.cores / max(1, at_work)), 1.0 / max(1, network)
        pace = min(1.0, self.curve.cores / max(1, at_work + network))
        return pace, pace

    # Each of these moves on whose work is done, starts what can be, and says whether anything moved.

    def _serve(self, left: list[Study]) -> bool:
        moved = False
        while self._loop and self._loop[0].left <= _SECONDS:
            study, moved = self._loop.popleft().study, True
            if study.written:
                study.finished = self.now
                self._taken -= 1
            elif self._admits(study):
                study.images = study.kind.images
                self._taken += 1
                self._preparing += 1
                self._files.extend(Task(study.kind.decode_seconds, study) for _ in range(study.images))
                continue
            del self.studies[study.number]
            left.append(study)
        return moved

    def _admits(self, study: Study) -> bool:
        """As the service decides, by the same code."""
        waiting, name = self._preparing + len(self.queue), str(study.number)
        room = self._admission.admits(name, waiting, self._seconds_per_study)
        if room and self._taken < self.curve.max_requests:
            return True
        self._admission.refuse(name, waiting, self._seconds_per_study)
        return False

    def _decode(self) -> bool:
        done = [task for task in self._decoding if task.left <= _SECONDS]
        for task in done:
            self._decoding.remove(task)
            study = task.study
            study.images -= 1
            if not study.images:
                self._preparing -= 1
                study.queued = self.now
                self.queue.append(study)
        free = self.curve.decode_workers - len(self._decoding)
        begun = [self._files.popleft() for _ in range(min(free, len(self._files)))]
        self._decoding += begun
        return bool(done or begun)

    def _encode(self) -> bool:
        moved = False
        if self._encoding and self._encoding[0].left <= _SECONDS:
            self._encoded.append(self._encoding.popleft().study)
            self._shorten()
            moved = True
        while self.queue and len(self._encoding) + len(self._encoded) < PREFETCH:
            beams = self.queue[0].kind.beams
            if self.rows + self._reserved + beams > self.curve.max_rows:
                break
            study = self.queue.popleft()
            self._reserved += beams
            self._encoding.append(Task(study.kind.images * self.curve.encode_seconds, study))
            moved = True
        return moved

    def _end_steps(self) -> bool:
        if not self._run or self._run_left > _SECONDS:
            return False
        self._steps += self._run
        self._run = 0
        while self._active and self._active[0][0] <= self._steps + _STEPS:
            self._finish(heapq.heappop(self._active)[-1])
        return True

    def _begin_steps(self) -> bool:
        """Who is encoded joins; then as many steps as the first study needs to its end."""
        if self._run or not (self._active or self._encoded):
            return False
        while self._encoded:
            study = self._encoded.popleft()
            self._reserved -= study.kind.beams
            self.rows += study.kind.beams
            heapq.heappush(self._active, (self._steps + study.kind.steps, study.number, study))
        self._run = max(1, math.ceil(self._active[0][0] - self._steps - _STEPS))
        self._run_left = self._run * self._step_seconds[self.rows]
        return True

    def _shorten(self) -> None:
        """Somebody is to join after the step at work: those behind it are not begun."""
        if self._run:
            seconds = self._step_seconds[self.rows]
            later = int(self._run_left / seconds + _STEPS)
            self._run -= later
            self._run_left = max(0.0, self._run_left - later * seconds)

    def _finish(self, study: Study) -> None:
        self.rows -= study.kind.beams
        since = max(self._last_finish, study.queued)
        self._seconds_per_study += 0.1 * (self.now - since - self._seconds_per_study)
        self._last_finish = self.now
        study.written = True
        self._loop.append(Task(study.kind.serve_seconds / 2, study))
