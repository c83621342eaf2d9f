"""How long to wait before the next try: twice as long each time, bounded, by chance, and not less than was asked."""

from __future__ import annotations

import random

_FIRST_SECONDS = 1.0
_MAX_DOUBLINGS = 20


class Pause:
    """Of one thing that may fail several times in a row."""

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
