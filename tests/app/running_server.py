"""The real server in a process of its own, for what only sockets and signals show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


class Server:
    """`xray-report serve` on a free port; `log` holds its lines so far, `other` those that are no JSON."""

    def __init__(self, checkpoint: Path, module: str = "app.cli", **settings: object) -> None:
        values = {"checkpoint": checkpoint, "device": "cpu", "decode_workers": 1, "drain_delay_seconds": 0, **settings}
        environment = {f"XRAY_REPORT_{name.upper()}": str(value) for name, value in values.items()}
        self.process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-m", module, "serve", "--port", "0"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[dict[str, Any]] = []
        self.other: list[str] = []
        self.written = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = 0

    def wait_until_ready(self) -> None:
        self.port = self.line("listening")["port"]
        self.line("ready")

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.written += line
            if line.startswith("{"):
                self.log.append(json.loads(line))
            else:
                self.other.append(line)

    def line(self, message: str, **fields: object) -> dict[str, Any]:
        """The first log line with this message and these fields, as soon as it is there."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for entry in list(self.log):
                if entry["message"] == message and fields.items() <= entry.items():
                    return entry
            time.sleep(0.02)
        raise AssertionError(f"no line {message!r} {fields} in {self.written}")

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE, trust_env=False)


@contextmanager
def serving(checkpoint: Path, module: str = "app.cli", **settings: object) -> Iterator[Server]:
    server = Server(checkpoint, module, **settings)
    try:
        server.wait_until_ready()
        yield server
        assert not server.other, "log lines are JSON objects"
    finally:
        server.process.kill()
        server.process.wait()
        server._reader.join()
        assert server.process.stderr
        server.process.stderr.close()
