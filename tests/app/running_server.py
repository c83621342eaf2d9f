"""The real server over a checkpoint of the tests, for what only sockets and signals show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import server
from benchmarks.server import Server


@contextmanager
def serving(checkpoint: Path, module: str = "app.cli", /, **settings: object) -> Iterator[Server]:
    """A server that is ready, quick to start and to stop; whatever it wrote is JSON."""
    quick = {"checkpoint": checkpoint, "device": "cpu", "decode_workers": 1, "drain_delay_seconds": 0}
    with TemporaryDirectory() as folder, server.serving(Path(folder), module, **quick | settings) as running:
        yield running
        assert not running.other, "log lines are JSON objects"
