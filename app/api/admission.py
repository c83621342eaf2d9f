"""Room in front of the engine: how much there is, and who told to come back goes before whom.

A client that is refused books the next free moment of a queue outside the service, and that is its Retry-After.
Repeating its X-Request-ID then, it is let in before newcomers. Without such a queue, at three times the capacity, two
of three that come back when told would find the room taken by somebody who never waited.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from app.api.problems import Problem

# The moments booked are a little further apart than the engine needs: some room is for newcomers.
_SPACING = 1.1
# A booking is kept this long: Retry-After is in whole seconds, and the way takes time.
_KEPT_SECONDS = 3.0
# Further ahead nothing is booked: the client comes back as a newcomer.
_HORIZON_SECONDS = 600.0
_MAX_BOOKINGS = 10_000
# A study that would wait longer than this part of its deadline is refused at once.
_DEADLINE_SHARE = 0.8


class Admission:
    """Used on the event loop's thread only; by another `clock` in simulations."""

    def __init__(self, max_queue: int, deadline_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_queue = max_queue
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._bookings: OrderedDict[str, float] = OrderedDict()  # request id to moment, the next one first
        self._last = 0.0

    def admits(self, request_id: str, waiting: int, seconds_per_study: float) -> bool:
        """Whether there is room behind `waiting` studies at the engine's present pace."""
        now = self._clock()
        while self._bookings and next(iter(self._bookings.values())) < now - _KEPT_SECONDS:
            self._bookings.popitem(last=False)
        room = max(1.0, min(self._max_queue, _DEADLINE_SHARE * self._deadline_seconds / seconds_per_study))
        if not self._bookings or self._bookings.get(request_id, math.inf) <= now:
            return waiting < room
        due = 0
        for moment in self._bookings.values():
            if moment > now or due >= room:
                break
            due += 1
        # Never more than half is kept free: those who do not come back must not idle the engine.
        return waiting < room - min(due + room / 8, room / 2)

    def entered(self, request_id: str) -> None:
        """Its booking is used up."""
        self._bookings.pop(request_id, None)

    def refuse(self, request_id: str, waiting: int, seconds_per_study: float) -> Problem:
        """The problem `overloaded`, its Retry-After being when this client's turn comes."""
        now = self._clock()
        moment = self._bookings.get(request_id, 0.0)
        if moment <= now:  # there is none, or there was no room after all
            moment = max(now + waiting * seconds_per_study, self._last + _SPACING * seconds_per_study)
            if moment <= now + _HORIZON_SECONDS and len(self._bookings) < _MAX_BOOKINGS:
                self._bookings[request_id] = self._last = moment
                self._bookings.move_to_end(request_id)
            moment = min(moment, now + _HORIZON_SECONDS)
        return Problem("overloaded", headers={"Retry-After": str(max(1, math.ceil(moment - now)))})
