"""How long to wait before asking again: what the answer says, and what is waited where it says nothing."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_FIRST_SECONDS = 1.0
_MAX_DOUBLINGS = 20


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds to wait by Retry-After (RFC 9110, section 10.2.3), from seconds or a date; None where it says
    neither."""
    given = headers.get("retry-after", "").strip()
    if given.isascii() and given.isdecimal():
        return float(given[:9])
    try:
        moment = parsedate_to_datetime(given)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


class Pause:
    """Of one thing that may fail several times in a row: twice as long each time, bounded, by chance, and not less than
    was asked."""

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._failures = 0

    def next(self, retry_after: float | None = None) -> float:
        """Seconds to wait after another failure.

        Half of it is chance: a fleet of loops does not come back at once. Who asks for longer gets that, up to the
        bound.
        """
        bound: float = min(self._max_seconds, _FIRST_SECONDS * 2.0 ** min(self._failures, _MAX_DOUBLINGS))
        self._failures += 1
        seconds = bound * random.uniform(0.5, 1.0)
        asked = min(retry_after or 0.0, self._max_seconds)
        return max(seconds, asked * random.uniform(1.0, 1.1))

    def reset(self) -> None:
        """It went well."""
        self._failures = 0
