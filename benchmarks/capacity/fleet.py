"""Replicas behind a gateway that sends each study to the one with the fewest outstanding: a loop over a heap of events.

Studies of a replica that fails begin again at another one; a study that finds even the emptiest replica full is
refused. Replicas come and go by the rule of Kubernetes' HorizontalPodAutoscaler, from studies waiting and beams in
flight as KEDA reads them off the service's metrics.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from app.server.autoscaling import ACTIVE_ROWS, PROCESSOR, QUEUE_DEPTH, TARGETS
from benchmarks.capacity.arrivals import Times
from benchmarks.capacity.curve import Curve
from benchmarks.capacity.replica import Replica, Study


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """Every `interval` seconds as many replicas are wanted as bring `queue` waiting studies, `rows` beams in flight and
    `processor` of its processors' time to each, unless that is within `tolerance` of what there is. Scaling down goes
    by the most that was wanted in `window` seconds."""

    least: int = 1
    most: int = 1_000
    queue: float = TARGETS[QUEUE_DEPTH]
    rows: float = TARGETS[ACTIVE_ROWS]
    processor: float = TARGETS[PROCESSOR]
    interval: float = 15.0
    window: float = 300.0
    tolerance: float = 0.1


@dataclass(frozen=True, slots=True)
class Failures:
    """A replica fails after `mean_between` seconds on average (exponential), and another one is begun after
    `mean_repair`; it then has to start."""

    mean_between: float
    mean_repair: float


@dataclass(slots=True)
class Outcome:
    """What became of a trace: seconds from arrival to answer, infinite for a study that was refused."""

    seconds: npt.NDArray[np.float64]
    refused: int = 0
    repeated: int = 0  # of replicas that failed
    replica_seconds: float = 0.0
    busy_seconds: float = 0.0
    most_replicas: int = 0

    def percentile(self, share: float, first: int = 0) -> float:
        """Seconds within which `share` of the studies from the first on were answered; infinite if too few were."""
        seconds = self.seconds[first:]
        return float(np.quantile(seconds, share, method="higher")) if len(seconds) else 0.0

    @property
    def utilisation(self) -> float:
        """Part of the replicas' time in which they had anything to do."""
        return self.busy_seconds / self.replica_seconds if self.replica_seconds else 0.0


@dataclass(slots=True)
class Fleet:
    """One simulation. `replicas` are there from the beginning; with `autoscaling` they become more and less."""

    curve: Curve
    replicas: int
    rng: np.random.Generator
    autoscaling: Autoscaling | None = None
    failures: Failures | None = None
    _all: list[Replica] = field(default_factory=list)
    _starting: int = 0
    _events: list[tuple[float, int, Callable[..., None], Sequence[object]]] = field(default_factory=list)
    _number: int = 0
    _now: float = 0.0
    _seen: float = 0.0  # replica seconds are counted up to here
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)
    _out: Outcome = field(default_factory=lambda: Outcome(np.zeros(0)))

    def run(self, times: Times, kinds: npt.NDArray[np.int64] | None = None) -> Outcome:
        """Simulates arrivals at these times, and on until the last is answered. `kinds` are indices into those of the
        curve; by default each is drawn by its share."""
        if kinds is None:
            shares = np.asarray([kind.share for kind in self.curve.kinds])
            kinds = self.rng.choice(len(shares), len(times), p=shares / shares.sum())
        self._out = Outcome(np.full(len(times), math.inf))
        for _ in range(self.replicas):
            self._begin()
        if self.autoscaling:
            self._at(self.autoscaling.interval, self._scale)
        for number, (time, kind) in enumerate(zip(times.tolist(), kinds.tolist(), strict=True)):
            self._until(time)
            self._pass_on(Study(time, self.curve.kinds[kind], number))
        while any(replica.outstanding for replica in self._all):
            self._until(self._events[0][0])
        self._count()
        self._out.busy_seconds += sum(replica.busy_seconds for replica in self._all)
        return self._out

    def _at(self, time: float, action: Callable[..., None], *given: object) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, action, given))

    def _until(self, time: float) -> None:
        """Lets happen what happens before `time`."""
        while self._events and self._events[0][0] <= time:
            self._now, _, action, given = heapq.heappop(self._events)
            action(*given)
        self._now = time

    def _pass_on(self, study: Study) -> None:
        """Sends a study to the replica with the fewest outstanding, the one asked longest ago among equals."""
        taking = [replica for replica in self._all if replica.taking]
        chosen = min(taking, key=lambda replica: (replica.outstanding, replica.asked), default=None)
        if chosen is None:
            self._out.refused += 1
            return
        self._number += 1
        chosen.asked = self._number
        self._leave(chosen.advance(self._now))
        chosen.submit(study)
        self._go_on(chosen)

    def _go_on(self, replica: Replica) -> None:
        """What a replica has to do now is begun, and its next event awaited."""
        self._leave(replica.advance(self._now))
        replica.version += 1
        if (time := replica.next_event()) < math.inf:
            self._at(time, self._happened, replica, replica.version)
        elif not replica.taking and replica in self._all:
            self._end(replica)

    def _happened(self, replica: Replica, version: int) -> None:
        if version == replica.version:
            self._go_on(replica)

    def _leave(self, studies: Sequence[Study]) -> None:
        for study in studies:
            self._out.seconds[study.number] = study.finished - study.arrived
            self._out.refused += study.finished == math.inf

    def _count(self) -> None:
        """Those that start are paid for as well."""
        self._out.replica_seconds += (len(self._all) + self._starting) * (self._now - self._seen)
        self._out.most_replicas = max(self._out.most_replicas, len(self._all) + self._starting)
        self._seen = self._now

    def _begin(self) -> None:
        self._count()
        replica = Replica(self.curve, self._now)
        self._all.append(replica)
        if self.failures:
            self._at(self._now + self.rng.exponential(self.failures.mean_between), self._fail, replica)

    def _started(self) -> None:
        self._count()
        self._starting -= 1
        self._begin()

    def _start(self) -> None:
        self._count()
        self._starting += 1
        self._at(self._now + self.curve.start_seconds, self._started)

    def _end(self, replica: Replica) -> None:
        self._count()
        self._all.remove(replica)
        self._out.busy_seconds += replica.busy_seconds
        replica.version += 1

    def _fail(self, replica: Replica) -> None:
        if replica not in self._all:
            return  # scaled down meanwhile
        self._leave(replica.advance(self._now))
        self._end(replica)
        if replica.taking and self.failures:
            self._at(self._now + self.rng.exponential(self.failures.mean_repair), self._start)
        for study in replica.studies.values():
            self._out.repeated += 1
            self._pass_on(Study(study.arrived, study.kind, study.number))

    def _scale(self) -> None:
        rule = self.autoscaling
        if rule is None:
            return
        self._at(self._now + rule.interval, self._scale)
        taking = [replica for replica in self._all if replica.taking]
        have = len(taking) + self._starting
        queued, rows = sum(len(replica.queue) for replica in taking), sum(replica.rows for replica in taking)
        used = sum(replica.core_seconds for replica in taking) / (rule.interval * self.curve.cores)
        for replica in taking:
            replica.core_seconds = 0.0
        ratio = max(queued / rule.queue, rows / rule.rows, used / rule.processor)
        wanted = have if have and abs(ratio / have - 1.0) <= rule.tolerance else math.ceil(ratio)
        wanted = min(rule.most, max(rule.least, wanted))
        self._wanted.append((self._now, wanted))
        while self._wanted[0][0] < self._now - rule.window:
            self._wanted.popleft()
        for _ in range(wanted - have):
            self._start()
        kept = max(number for _, number in self._wanted)
        for replica in taking[max(kept - self._starting, 1) :]:
            replica.taking = False
            self._go_on(replica)
