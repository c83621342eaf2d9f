"""Stopping when asked to: SIGTERM and Ctrl-C end training after the step at hand, with nothing lost."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


class InterruptedRunError(Exception):
    """Training was asked to stop, and its state is saved."""


class StopRequest:
    """Notes SIGTERM and SIGINT while active; a second SIGINT stops at once, as it always does."""

    def __init__(self) -> None:
        self.received = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        signal.signal(signal.SIGINT, self._previous[signal.SIGINT])
