"""Clients that wait for their answer before they send the next study, at one replica: its throughput, simulated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.capacity.arrivals import Times
from benchmarks.capacity.curve import Curve
from benchmarks.capacity.replica import Replica, Study

_STUDIES = 600  # answered, after which the rate is known to a per cent
_WARM_UP = 0.1


@dataclass(frozen=True, slots=True)
class Busy:
    """Reports a second, and the seconds that each took, once all clients are at work."""

    rate: float
    seconds: Times


def closed_loop(curve: Curve, clients: int, rng: np.random.Generator, studies: int = _STUDIES) -> Busy:
    """Until so many are answered. A client that is refused does not come back."""
    shares = np.asarray([kind.share for kind in curve.kinds])
    drawn = iter(rng.choice(len(shares), studies + clients, p=shares / shares.sum()).tolist())
    replica, number = Replica(curve), 0
    answered: list[Study] = []

    def send() -> None:
        nonlocal number
        replica.submit(Study(replica.now, curve.kinds[next(drawn)], number))
        number += 1

    for _ in range(clients):
        send()
    while len(answered) < studies and (time := replica.next_event()) < math.inf:
        for study in replica.advance(time):
            if study.finished < math.inf:
                answered.append(study)
                send()
        replica.advance(replica.now)  # what was sent is begun
    first = int(_WARM_UP * len(answered))
    counted = answered[first:]
    rate = (len(counted) - 1) / (counted[-1].finished - counted[0].finished)
    return Busy(rate, np.array([study.finished - study.arrived for study in counted]))


def most_reports(curve: Curve) -> float:
    """Reports a second of a replica that has always more studies than it can do."""
    return closed_loop(curve, curve.max_requests, np.random.default_rng(0)).rate
