"""`python -m benchmarks.capacity.named_server serve`: the service, its threads known by name to the system as well.

Python up to 3.13 keeps the names to itself; with them `/proc` tells what each thread costs.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from app import cli

_MOST_BYTES = 15  # of a name: Linux keeps no more


def name_threads() -> None:
    """Every thread that begins from now on tells the system what it is called."""
    run = threading.Thread.run

    def named(self: threading.Thread) -> None:
        Path("/proc/thread-self/comm").write_bytes(self.name.encode()[:_MOST_BYTES])
        run(self)

    threading.Thread.run = named  # type: ignore[method-assign]


if __name__ == "__main__":
    name_threads()
    sys.exit(cli.main())
