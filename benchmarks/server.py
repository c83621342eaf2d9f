"""The real server with the shipped checkpoint in a process of its own, and what can be seen of it from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.client import Request, ask

ROOT = Path(__file__).parents[1]
START_SECONDS = 120.0
RECEIVE_DEADLINE_SECONDS = 8.0


class Server:
    """A running server; `folder` takes its log and is its TMPDIR, so that filling one disk fills both."""

    def __init__(self, folder: Path, **settings: object) -> None:
        given = {"port": 0, "receive_deadline_seconds": RECEIVE_DEADLINE_SECONDS, "max_requests": 256, **settings}
        environment = {f"XRAY_REPORT_{name.upper()}": str(value) for name, value in given.items()}
        self.log = folder / "server.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(  # our own program
                [sys.executable, "-m", "app.cli", "serve"],
                cwd=ROOT,
                env=os.environ | environment | {"TMPDIR": str(folder)},
                stderr=log,
            )
        self.port = int(str(self._line("listening")["port"]))
        self._line("ready")

    def _line(self, message: str) -> dict[str, object]:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            for line in self.log.read_text().splitlines():
                with suppress(ValueError):  # half a line, or an interpreter's last words
                    entry: dict[str, object] = json.loads(line)
                    if entry["message"] == message:
                        return entry
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start: {self.log.read_text()[-2000:]}")

    @property
    def workers(self) -> list[int]:
        """The process ids of its decode workers."""
        with suppress(OSError):
            threads = Path(f"/proc/{self.process.pid}/task").iterdir()
            return [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
        return []

    def memory(self) -> float:
        """Resident mebibytes of the server and its workers."""
        return sum(map(_resident, (self.process.pid, *self.workers)))

    def processor_seconds(self) -> float:
        """Processor time the server has had so far, without its workers."""
        user, system = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        """Open file descriptors of the server."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def refusals(self) -> list[float]:
        """Seconds that each 503 so far took inside the server, by its log."""
        lines = [line for line in self.log.read_text().splitlines() if '"status": 503' in line]
        return [json.loads(line)["duration_ms"] / 1e3 for line in lines]

    async def metrics(self) -> dict[str, float]:
        """Its metrics by name and label values, as in `xray_report_queue_depth` or `…_sum step`."""
        answer = await ask(self.port, Request("GET", "/metrics"))
        families = text_string_to_metric_families(answer.body.decode())
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in families
            for sample in family.samples
        }

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.process.send_signal(signal.SIGTERM)


def _resident(pid: int) -> float:
    with suppress(OSError):  # a worker that ended meanwhile
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[Server]:
    """A server that is ready; killed at the end if it still runs."""
    server = Server(folder, **settings)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
