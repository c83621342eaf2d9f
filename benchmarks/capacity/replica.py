"""One replica as a chain of waiting lines: decode workers, the engine's queue, encoding, and the steps in flight.

Between two events nothing changes but how far everything is, so that time jumps from event to event: a step of the
decoder is none, for all studies in flight advance together at a pace that their number of beams decides.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from app.api.admission import Admission
from benchmarks.capacity.curve import Curve, Kind

PREFETCH = 2  # studies being encoded or next: app.inference.engine.encoding_thread, with one image a thread
DEADLINE_SECONDS = 60.0  # of a request, by default
_SECONDS, _STEPS = 1e-9, 1e-6  # less than this is done: what rounding leaves


@dataclass(slots=True)
class Study:
    """A study on its way: when it arrived, what is left of the work at hand, in seconds, and when a replica took it."""

    arrived: float
    kind: Kind
    number: int
    left: float = 0.0
    taken: float = 0.0
    finished: float = field(default=float("inf"))


class Replica:
    """Advances from event to event; `now` is the time it has come to."""

    def __init__(self, curve: Curve, now: float = 0.0) -> None:
        self.curve, self.now = curve, now
        self.taking = True  # whether new studies are sent here
        self.asked = 0  # when a study was sent here last, in order
        self.version = 0  # of what is known about its next event
        self.busy_seconds, self.core_seconds = 0.0, 0.0  # with anything to do; of its processors since it was looked at
        self.rows = 0  # beams in flight
        self._step_seconds = [curve.step(rows) for rows in range(curve.max_rows + 1)]
        self._steps = 0.0  # taken so far
        self._admission = Admission(curve.max_queue, DEADLINE_SECONDS, lambda: self.now)
        self._seconds_per_study, self._last_finish = 1.0, 0.0  # as app.inference.engine.study_queue knows them
        self._arrived: deque[Study] = deque()
        self._preparing: list[Study] = []
        self.queue: deque[Study] = deque()
        self._encoding: deque[Study] = deque()
        self._active: list[tuple[float, int, Study]] = []  # by the step at which each is done

    @property
    def studies(self) -> list[Study]:
        """All that are here."""
        return [*self._arrived, *self._preparing, *self.queue, *self._encoding, *(study for *_, study in self._active)]

    @property
    def outstanding(self) -> int:
        """How many are here."""
        waiting = len(self._arrived) + len(self._preparing) + len(self.queue)
        return waiting + len(self._encoding) + len(self._active)

    def submit(self, study: Study) -> bool:
        """Takes a study in now, unless the replica is full: as the service decides, by the same code."""
        waiting = len(self._arrived) + len(self._preparing) + len(self.queue)
        room = self._admission.admits(str(study.number), waiting, self._seconds_per_study)
        if not room or self.outstanding >= self.curve.max_requests:
            self._admission.refuse(str(study.number), waiting, self._seconds_per_study)
            return False
        study.taken = self.now
        self._arrived.append(study)
        return True

    def advance(self, now: float) -> list[Study]:
        """Goes on to `now`, which must not be after the next event; the studies that are finished then."""
        elapsed, self.now = now - self.now, now
        prepare, device = self._rates()
        if prepare or device:
            self.busy_seconds += elapsed
            self.core_seconds += elapsed * self._cores_at_work()
        for study in self._preparing:
            study.left -= elapsed * prepare
        if self._encoding:
            self._encoding[0].left -= elapsed * device
        if self._active:
            self._steps += elapsed * device / self._step_seconds[self.rows]
        finished: list[Study] = []
        while self._settle(finished):
            pass
        return finished

    def next_event(self) -> float:
        """When something here is done next; infinite while there is nothing to do."""
        prepare, device = self._rates()
        soonest = float("inf")
        if self._preparing:
            soonest = min(study.left for study in self._preparing) / prepare
        if self._encoding:
            soonest = min(soonest, self._encoding[0].left / device)
        if self._active:
            steps = self._active[0][0] - self._steps
            soonest = min(soonest, steps * self._step_seconds[self.rows] / device)
        return self.now + max(0.0, soonest)

    def _cores_at_work(self) -> float:
        workers = len(self._preparing)
        device = 0 if self.curve.accelerator else bool(self._encoding) + bool(self._active)
        return min(self.curve.cores, workers + device)

    def _rates(self) -> tuple[float, float]:
        """How much of a second each decode worker, and encoding and steps, get done in one."""
        workers, device = len(self._preparing), bool(self._encoding) + bool(self._active)
        cores = self.curve.cores
        if self.curve.accelerator:
            return (min(1.0, cores / workers) if workers else 0.0), (1.0 / device if device else 0.0)
        at_work = workers + device
        share = min(1.0, cores / at_work) if at_work else 0.0
        return share, share

    def _settle(self, finished: list[Study]) -> bool:
        """Moves studies on whose work is done, and starts what can be; whether any moved."""
        moved = False
        for study in [study for study in self._preparing if study.left <= _SECONDS]:
            self._preparing.remove(study)
            self.queue.append(study)
            moved = True
        while self._arrived and len(self._preparing) < self.curve.decode_workers:
            study = self._arrived.popleft()
            study.left = study.kind.prepare_seconds
            self._preparing.append(study)
            moved = True
        while self._active and self._active[0][0] <= self._steps + _STEPS:
            study = heapq.heappop(self._active)[-1]
            self.rows -= study.kind.beams
            study.finished = self.now + self.curve.overhead_seconds
            since = max(self._last_finish, study.taken)
            self._seconds_per_study += 0.1 * (self.now - since - self._seconds_per_study)
            self._last_finish = self.now
            finished.append(study)
            moved = True
        if self._encoding and self._encoding[0].left <= _SECONDS:
            study = self._encoding.popleft()
            self.rows += study.kind.beams
            heapq.heappush(self._active, (self._steps + study.kind.steps, study.number, study))
            moved = True
        reserved = sum(study.kind.beams for study in self._encoding)
        while self.queue and len(self._encoding) < PREFETCH:
            reserved += self.queue[0].kind.beams
            if self.rows + reserved > self.curve.max_rows:
                break
            study = self.queue.popleft()
            study.left = study.kind.images * self.curve.encode_seconds
            self._encoding.append(study)
            moved = True
        return moved
