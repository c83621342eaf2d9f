"""How many replicas a load needs, and what they cost: the fewest whose p99 holds in the busiest hour, over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.capacity.arrivals import HOUR, Times
from benchmarks.capacity.clients import most_reports
from benchmarks.capacity.curve import Curve
from benchmarks.capacity.fleet import Fleet

SEEDS = 5
BUSIEST = 0.95  # of what replicas can do at most is planned with: what a short simulation of more says is not steady
MOST_REFUSED = 0.001
# The two-sided 95 % quantile of Student's t for so many degrees of freedom.
_STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
_SIMULATED, _LEAST_SECONDS = 10_000, 30.0  # studies of one seed, and how long they come at least
_MOST_SECONDS = 4 * HOUR

Arrivals = Callable[[np.random.Generator], Times]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean over seeds, and half of its 95 % interval (Student's t)."""

    mean: float
    half: float

    @property
    def upper(self) -> float:
        """The upper end of the interval."""
        return self.mean + self.half


def estimate(values: Sequence[float]) -> Estimate:
    """From one value a seed."""
    mean = statistics.mean(values)
    if len(values) < 2 or not math.isfinite(mean):
        return Estimate(mean, 0.0 if math.isfinite(mean) else math.inf)
    return Estimate(mean, _STUDENT.get(len(values) - 1, 2.26) * statistics.stdev(values) / math.sqrt(len(values)))


def window(rate: float) -> float:
    """Seconds to simulate at such a rate: long enough for a p99, no longer than a computer's patience."""
    return min(_MOST_SECONDS, max(_LEAST_SECONDS, _SIMULATED / rate)) if rate else HOUR


@dataclass(slots=True)
class Plan:
    """What replicas do under arrivals, simulated once for each number of them; the first `warm_up` of the studies are
    not counted."""

    curve: Curve
    arrivals: Arrivals
    seeds: int = SEEDS
    warm_up: float = 0.1
    _known: dict[int, tuple[Estimate, float]] = field(default_factory=dict)

    def p99(self, replicas: int) -> Estimate:
        """Seconds; infinite where more than one in a thousand studies is refused."""
        return self._simulated(replicas)[0]

    def utilisation(self, replicas: int) -> float:
        """Part of the time in which a replica has anything to do."""
        return self._simulated(replicas)[1]

    def replicas(self, target: float) -> int:
        """The fewest whose p99 is within `target` seconds, its interval too. Raises ValueError where none are."""
        low = self._least()
        high = low
        while self.p99(high).upper > target:
            if high > low and math.inf > self.p99(high).mean >= 0.999 * self.p99(low).mean:
                raise ValueError(f"no number of replicas answers 99 of 100 studies within {target:g} s")
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.p99(middle).upper <= target else (middle, high)
        return low if self.p99(low).upper <= target else high

    def _least(self) -> int:
        """As many as are no more than `BUSIEST` busy with the arrivals of a seed."""
        times = self.arrivals(np.random.default_rng(0))
        rate = len(times) / max(times[-1], 1.0) if len(times) else 0.0
        return max(1, math.ceil(rate / (BUSIEST * most_reports(self.curve))))

    def _simulated(self, replicas: int) -> tuple[Estimate, float]:
        if replicas not in self._known:
            outcomes = []
            for seed in range(self.seeds):
                rng = np.random.default_rng(seed)
                outcomes.append(Fleet(self.curve, replicas, rng).run(self.arrivals(rng)))
            p99s = [one.percentile(0.99, int(self.warm_up * len(one.seconds))) for one in outcomes]
            refused = sum(one.refused for one in outcomes) / max(1, sum(len(one.seconds) for one in outcomes))
            found = estimate(p99s) if refused <= MOST_REFUSED else Estimate(math.inf, math.inf)
            self._known[replicas] = found, statistics.mean(one.utilisation for one in outcomes)
        return self._known[replicas]
