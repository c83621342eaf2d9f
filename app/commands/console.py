"""Where commands print: Rich, with colour on a terminal alone and never where NO_COLOR is set."""

from __future__ import annotations

import sys

from rich.console import Console

_MAX_WIDTH = 120


def output() -> Console:
    """Standard output."""
    return _console(Console(highlight=False, emoji=False, markup=False, soft_wrap=False))


def errors() -> Console:
    """Standard error."""
    return _console(Console(stderr=True, highlight=False, emoji=False, markup=False))


def _console(console: Console) -> Console:
    console.width = min(console.width, _MAX_WIDTH)  # longer lines are hard to read
    return console


def plain(text: str) -> None:
    """Text for other programs, as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
