"""The server that is sent anything at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.server import Server
from tests.app.running_server import serving

DECODE_WORKERS = 2


@pytest.fixture(scope="session")
def server(tiny_checkpoint: Path, long: bool) -> Iterator[Server]:
    """A real server; with little time, one that takes small images only."""
    settings: dict[str, object] = {} if long else {"max_pixels": 2_000_000}
    with serving(tiny_checkpoint, decode_workers=DECODE_WORKERS, **settings) as server:
        yield server
