"""How far a long task is, on standard error: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

LINE_SECONDS = 15.0


class Progress:
    """Counts up to `total` and says when that will be."""

    def __init__(self, label: str, total: int, unit: str, *, done: int = 0, shown: bool = True) -> None:
        """`done` of `total` are behind already; with `shown` False nothing is printed."""
        terminal = sys.stderr.isatty()
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self._bar = tqdm(total=total, initial=done, desc=label, unit=unit, disable=not (shown and terminal))
        self._lines = shown and not terminal
        self._begun = self._printed = time.monotonic()
        self._done_before = done

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, note: str = "") -> None:
        """One more is done; `note` is shown beside the count until the next one."""
        self.done += 1
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update()
        now = time.monotonic()
        if self._lines and now - self._printed >= LINE_SECONDS:
            self._printed = now
            rate = (self.done - self._done_before) / (now - self._begun)
            left = tqdm.format_interval((self.total - self.done) / rate)
            share = f"{self.done:,}/{self.total:,} {self.unit}s, {rate:.3g} a second, {left} left"
            print(f"{self.label}: {share}{note and ': '}{note}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._lines:
            print(text, flush=True)
        elif not self._bar.disable:
            self._bar.write(text)
