"""Two lengths of the same tests: short among the others, long with `make fuzz`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.server import Server
from tests.app.running_server import serving

DECODE_WORKERS = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="thousands of requests instead of hundreds")


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether there is time. The option is known only when this folder is named on the command line."""
    return bool(request.config.getoption("--long", default=False))


@pytest.fixture(scope="session")
def server(tiny_checkpoint: Path, long: bool) -> Iterator[Server]:
    """A real server; with little time, one that takes small images only."""
    settings: dict[str, object] = {} if long else {"max_pixels": 2_000_000}
    with serving(tiny_checkpoint, decode_workers=DECODE_WORKERS, **settings) as server:
        yield server
