"""`python -m app.front_process`: a front of `xray-report serve`, which starts it and names the files it inherits."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys

from app.images.sandbox import WorkerStartError
from app.inference.memory import give_back_freed_memory
from app.main import create_app
from app.server import front


def main(listener: int, end: int, held: int, place: int) -> int:
    """Serves. Returns the exit code."""
    give_back_freed_memory()
    gc.disable()  # until it is ready, as `xray-report serve` does
    make_app = lambda settings, make_service: create_app(settings, make_service=make_service)  # noqa: E731
    try:
        asyncio.run(front.serve(socket.socket(fileno=listener), socket.socket(fileno=end), held, place, make_app))
    except WorkerStartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
