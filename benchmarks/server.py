"""The real server in a process of its own, and what can be seen of it from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.client import HOST, Request, ask

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 120.0


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(
    command: Sequence[str], log: Path, environment: dict[str, str], *, session: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A program run from the root of the project, what it says in `log`; killed in the end.

    With `session` it has one of its own and all of that is killed. Linux then also gives it a processor share of its
    own: against clients of several processes or threads it is faster.
    """
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603  # servers that benchmarks and tests name
            command, cwd=ROOT, env=os.environ | environment, stdout=file, stderr=file, start_new_session=session
        )
    try:
        yield process
    finally:
        if session:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


class Server:
    """A running `xray-report serve`, its log in a file."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        """Waits until it is ready."""
        self.process = process
        self.log_file = log_file
        listening = self.line("listening")
        self.host, self.port = str(listening["host"]), int(listening["port"])
        self.line("ready")

    @property
    def written(self) -> str:
        """All it has said so far."""
        return self.log_file.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of its log so far."""
        return [entry for entry in map(_entry, self._lines()) if entry]

    @property
    def other(self) -> list[str]:
        """Lines that are no JSON: of a log cut short, or an interpreter's last words."""
        return [line for line in self._lines() if not _entry(line)]

    def _lines(self) -> list[str]:
        return self.written.rpartition("\n")[0].splitlines()  # the last may not be whole yet

    def line(self, message: str, **fields: object) -> dict[str, Any]:
        """The first log line with this message and these fields, as soon as it is there."""
        return self.lines(message, 1, **fields)[0]

    def lines(self, message: str, least: int, **fields: object) -> list[dict[str, Any]]:
        """All such lines, as soon as there are so many."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            last = time.monotonic() > until or self.process.poll() is not None
            found = [entry for entry in self.log if entry["message"] == message and fields.items() <= entry.items()]
            if len(found) >= least:
                return found
            if last:
                raise RuntimeError(f"the server did not log {message!r} {fields}: {self.written[-2000:]}")
            time.sleep(0.02)

    def client(self) -> httpx.Client:
        """A client that knows its address."""
        return httpx.Client(base_url=f"http://{self.host}:{self.port}", timeout=PATIENCE_SECONDS, trust_env=False)

    @property
    def workers(self) -> list[int]:
        """The process ids of its decode workers, or of its fronts where it has some."""
        return children(self.process.pid)

    def memory(self) -> float:
        """Resident mebibytes of the server and its workers."""
        return sum(map(_resident, (self.process.pid, *self.workers)))

    def processor_seconds(self) -> float:
        """Processor time the server has had so far, without its workers."""
        return processor_seconds(self.process.pid)

    def worker_seconds(self) -> float:
        """Processor time its decode workers have had so far."""
        return sum(map(processor_seconds, self.workers))

    def open_files(self) -> int:
        """Open file descriptors of the server."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def refusals(self) -> list[float]:
        """Seconds that each 503 so far took inside the server, by its log."""
        return [entry["duration_ms"] / 1e3 for entry in self.log if entry.get("status") == 503]

    async def metrics(self) -> dict[str, float]:
        """Its metrics by name and label values, as in `xray_report_queue_depth` or `…_sum step`."""
        answer = await ask(self.port, Request("GET", "/metrics"))
        families = text_string_to_metric_families(answer.body.decode())
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in families
            for sample in family.samples
        }


def _entry(line: str) -> dict[str, Any] | None:
    with suppress(ValueError):
        entry = json.loads(line)
        return entry if isinstance(entry, dict) else None
    return None


def processor_seconds(pid: int) -> float:
    """Processor time that a process has had so far, its children apart."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):  # a thread that ended meanwhile
            found += map(int, (thread / "children").read_text().split())
    return found


def thread_seconds(pid: int) -> dict[str, float]:
    """Processor time of each thread of a process so far, by the name that the system knows; the first one is "main"."""
    found: dict[str, float] = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it ended meanwhile
            name = "main" if thread.name == str(pid) else (thread / "comm").read_text().strip()
            nanoseconds = int((thread / "schedstat").read_text().split()[0])
            found[name] = found.get(name, 0.0) + nanoseconds / 1e9
    return found


def _resident(pid: int) -> float:
    with suppress(OSError):  # a worker that ended meanwhile
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


@contextmanager
def serving(folder: Path, module: str = "app.cli", /, **settings: object) -> Iterator[Server]:
    """`python -m <module> serve` on a free port, ready. `folder` takes its log and is its TMPDIR, so that filling one
    disk fills both."""
    environment = {f"XRAY_REPORT_{name.upper()}": str(value) for name, value in {"port": 0, **settings}.items()}
    log = folder / "server.log"
    with started([sys.executable, "-m", module, "serve"], log, environment | {"TMPDIR": str(folder)}) as process:
        yield Server(process, log)
