"""What a command prints, whoever reads it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNREAD = 141  # what shells say of a command that SIGPIPE ended: 128 + 13


@contextmanager
def printing() -> Iterator[None]:
    """Nothing that a command prints ends it with a traceback.

    Letters that the output cannot hold are escaped. Where the reader has left (`| head`), the command ends quietly with
    `SystemExit` and status `UNREAD`, not 0: it has not done all it was asked to.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # or the interpreter tries once more at its end, and complains
        sys.exit(UNREAD)
