"""`make demo`: starts the real server on a free port, posts a bundled film, prints the report."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.settings import PREFIX

SAMPLE = Path(__file__).parent.parent / "weights" / "samples" / "effusion.jpg"
START_SECONDS = 120.0


@contextmanager
def serving(**settings: object) -> Iterator[httpx.Client]:
    """A client of `xray-report serve` on a free port of this machine, by settings as in `Settings`, until the end of
    the block. Raises RuntimeError where the server does not become ready; it has said why."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {PREFIX + name.upper(): str(value) for name, value in {"log_level": "WARNING", **settings}.items()}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    server = subprocess.Popen(command, env=os.environ | given)  # noqa: S603 our own program
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0, trust_env=False) as client:
            if not wait_until_ready(client, server):
                raise RuntimeError("the server did not become ready")
            yield client
    finally:
        server.terminate()
        server.wait(30)


def main() -> int:
    """Exit status 0 when a report came back."""
    try:
        with serving() as client:
            answer = client.post("/v1/report", files={"image": SAMPLE.open("rb")})
            print(json.dumps(answer.json(), indent=2))
            return 0 if answer.status_code == httpx.codes.OK else 1
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def wait_until_ready(client: httpx.Client, server: subprocess.Popen[bytes]) -> bool:
    """Whether the server answers /readyz with 200 before the time is up or it exits."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            if client.get("/readyz").status_code == httpx.codes.OK:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    return False


if __name__ == "__main__":
    sys.exit(main())
