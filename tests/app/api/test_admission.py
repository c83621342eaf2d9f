"""Who is let in under overload: those told to come back, when they do, and newcomers with the room that is left."""

from __future__ import annotations

import heapq

import pytest

from app.api.admission import Admission
from app.api.problems import Problem


class Clock:
    """Time that passes only as told."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def seconds(problem: Problem) -> int:
    assert problem.type == "overloaded"
    return int(problem.headers["Retry-After"])


@pytest.mark.parametrize("pace", [0.02, 0.1, 0.7])
@pytest.mark.parametrize("come_back", [1.0, 0.5, 0.0])
def test_three_times_the_capacity(pace: float, come_back: float) -> None:
    """Of those who come back when told nine in ten get in, and the engine never idles, whoever comes back."""
    clock = Clock()
    admission = Admission(max_queue=64, deadline_seconds=60.0, clock=clock)
    arrivals = [(i * pace / 3, i, False) for i in range(int(3 * 60 / pace))]
    newcomers_until = arrivals[-1][0]
    tries = refused = waiting = 0
    free_at = idle = 0.0
    while arrivals:
        now, i, returning = heapq.heappop(arrivals)
        clock.now = now
        while waiting and free_at <= now:  # the engine takes the next study
            free_at, waiting = free_at + pace, waiting - 1
        if free_at < now:
            idle += now - free_at if now <= newcomers_until else 0.0
            free_at = now
        tries += returning
        if admission.admits(str(i), waiting, pace):
            admission.entered(str(i))
            waiting += 1
        else:
            refused += returning
            wait = seconds(admission.refuse(str(i), waiting, pace))
            if not returning and i % 10 < 10 * come_back:
                heapq.heappush(arrivals, (now + wait, i, True))
    assert idle < 0.05 * newcomers_until
    assert refused <= 0.1 * tries
    assert tries > 0 or come_back == 0


def test_booking_is_kept() -> None:
    """Who asks again too early is told the same moment; who comes in time goes before a newcomer; a booking ends."""
    clock = Clock(100.0)
    admission = Admission(max_queue=8, deadline_seconds=60.0, clock=clock)
    assert not admission.admits("a", waiting=8, seconds_per_study=1.0)
    assert seconds(admission.refuse("a", 8, 1.0)) == 8
    assert seconds(admission.refuse("b", 8, 1.0)) == 10
    clock.now = 102.0
    assert seconds(admission.refuse("a", 8, 1.0)) == 6
    clock.now = 108.5
    assert admission.admits("a", 7, 1.0)
    assert not admission.admits("newcomer", 7, 1.0)
    admission.entered("a")
    clock.now = 120.0
    assert admission.admits("newcomer", 7, 1.0)


def test_deadline_bounds_the_queue() -> None:
    """A study that would only wait for its deadline is refused at once, but an idle engine refuses none."""
    admission = Admission(max_queue=64, deadline_seconds=10.0)
    assert admission.admits("a", waiting=7, seconds_per_study=1.0)
    assert not admission.admits("a", waiting=8, seconds_per_study=1.0)
    assert admission.admits("a", waiting=0, seconds_per_study=100.0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bookings are limited in number and in how far ahead they are."""
    monkeypatch.setattr("app.api.admission._MAX_BOOKINGS", 50)
    admission = Admission(max_queue=8, deadline_seconds=60.0, clock=Clock(1.0))
    for i in range(1000):
        assert 1 <= seconds(admission.refuse(str(i), 8, 20.0)) <= 600
    assert len(admission._bookings) <= 50
