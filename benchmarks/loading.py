"""How long the service takes to be ready, what it keeps in memory at rest, and how large its image is.

On two processors, which is what the goals are for. Files are in the page cache: the first start is not counted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.results import Row, rates
from benchmarks.server import ROOT, Server, serving

PROCESSORS = 2
REST_SECONDS = 2.0
READY_GOAL, RESIDENT_GOAL, HELP_GOAL, IMAGE_GOAL = 4.0, 800.0, 0.3, 1.3
IMAGE = "xray-report:cpu"


@dataclass(frozen=True, slots=True)
class Start:
    """One start: seconds until the checkpoint was loaded and until the service was ready, the processor time the server
    had by then, and then the megabytes of it and its decode workers, resident, and with pages that several processes
    share counted in parts (PSS)."""

    loaded: float
    ready: float
    processor: float
    resident: float
    proportional: float


def run(rounds: int, short: bool) -> list[Row]:
    """A server and three times `--help` in each round; the image's size where an engine has the image."""
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""  # as where it is installed, what the first start compiled is there
    with processors(PROCESSORS):
        start()
        starts = [start() for _ in range(rounds)]
        helps = [help_seconds() for _ in range(3 * rounds)]
    return [
        rates("start until the checkpoint is loaded", "s", [one.loaded for one in starts]),
        _at_most(READY_GOAL, "start until ready", "s", [one.ready for one in starts]),
        rates("start until ready, processor time of the server", "s", [one.processor for one in starts]),
        _at_most(
            RESIDENT_GOAL, f"at rest, resident, torch {torch.__version__}", "MB", [one.resident for one in starts]
        ),
        rates("at rest, proportional", "MB", [one.proportional for one in starts]),
        _at_most(HELP_GOAL, "--help", "s", helps),
        image_size(),
    ]


def start() -> Start:
    """Starts the service on the shipped checkpoint, and ends it."""
    begun = time.time()
    with TemporaryDirectory() as folder, serving(Path(folder)) as server:
        loaded, ready = (_moment(server, message) - begun for message in ("loaded", "ready"))
        processor = server.processor_seconds()
        time.sleep(REST_SECONDS)
        processes = (server.process.pid, *server.workers)
        return Start(loaded, ready, processor, *(sum(megabytes(pid, of) for pid in processes) for of in ("Rss", "Pss")))


def help_seconds() -> float:
    """What `xray-report --help` takes."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "app.cli", "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def image_size() -> Row:
    """Of the container image with torch for the CPU, all layers, base included."""
    name, unit = f"image {IMAGE}", "GB"
    if shutil.which("docker") is None:
        return Row(name, None, unit, note="no Docker engine")
    command = ["docker", "image", "inspect", "--format", "{{.Size}}", IMAGE]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # fixed words
    if found.returncode:
        return Row(name, None, unit, note="no engine, or it has not built this image")
    return _at_most(IMAGE_GOAL, name, unit, [int(found.stdout) / 1e9])


@contextmanager
def processors(count: int) -> Iterator[None]:
    """So many for this process and for those that it starts, as long as the context lasts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def megabytes(pid: int, of: str) -> float:
    """Of a process, `Rss` or `Pss`; 0 of one that has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{of}:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _moment(server: Server, message: str) -> float:
    return datetime.fromisoformat(server.line(message)["time"]).timestamp()


def _at_most(goal: float, name: str, unit: str, values: Sequence[float]) -> Row:
    return replace(rates(name, unit, values), goal=goal, at_most=True)
