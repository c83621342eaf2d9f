"""How far a run is: a bar on a terminal, else a line now and then, on standard error."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from app.bulk.study import Outcome

_LINE_SECONDS = 10.0
_LISTED_AT_ONCE = 100


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Studies a second, of late."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "-/s", style="cyan")


class Shown:
    """What the user sees while it runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total = self._done = self._failed = self._done_here = 0
        self._reason = ""
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TaskProgressColumn(),
                _Rate(),
                TimeRemainingColumn(compact=True),
            )
            self._bar = Progress(*columns, console=console, expand=True, refresh_per_second=4)
            self._task = self._bar.add_task("looking", total=None)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def looked_at(self, files: int) -> None:
        """Files seen while listing."""
        if self._bar and files % _LISTED_AT_ONCE == 0:
            self._bar.update(self._task, completed=files)

    def begin(self, total: int, done: int) -> None:
        """The studies are known, and how many have their line."""
        self._total, self._done = total, done
        self._started = time.monotonic()
        if self._bar:
            self._bar.reset(self._task, total=total, completed=done, description="reports")

    def finished(self, outcome: Outcome) -> None:
        """One more study has its line."""
        self._done += 1
        self._done_here += 1
        self._failed += outcome.problem is not None
        if self._bar:
            self._bar.update(self._task, advance=1, description=self._description())
        elif time.monotonic() - self._last_line > _LINE_SECONDS:
            self._line()

    def waiting(self, reason: str) -> None:
        """Why nothing comes of it at the moment; "" once it does."""
        if reason == self._reason:
            return
        self._reason = reason
        if self._bar:
            self._bar.update(self._task, description=self._description())
        elif reason:
            self._console.print(f"waiting for the service: {reason}")

    @property
    def seconds(self) -> float:
        """Since the first study of this run was begun."""
        return time.monotonic() - self._started

    def _description(self) -> str:
        failed = f", {self._failed} without" if self._failed else ""
        return f"waiting: {self._reason}" if self._reason else f"reports{failed}"

    def _line(self) -> None:
        self._last_line = time.monotonic()
        rate = self._done_here / self.seconds
        left = (self._total - self._done) / rate
        failed = f", {self._failed} without a report" if self._failed else ""
        self._console.print(f"{self._done:,} of {self._total:,}{failed}, {rate:.1f}/s, {duration(left)} left")


def duration(seconds: float) -> str:
    """For a reader, as in 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
