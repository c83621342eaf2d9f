"""`xray-report bulk` beside the plain client: what of the server's throughput it gets.

Both have the same studies with the same options, and as many under way. The client of these benchmarks sends prebuilt
bytes; `bulk` reads files, speaks multipart, parses answers and writes its lines, on the cores that the server has.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.client import HOST, Request
from benchmarks.load import closed_loop
from benchmarks.results import Row, rates, ratio
from benchmarks.server import ROOT
from benchmarks.service import CONTESTANTS, OURS, mixture, serving

OPTIONS = {"num_beams": "3", "min_new_tokens": "60", "max_new_tokens": "60"}
IN_FLIGHT = 42  # what `bulk` takes by the default limits with 3 beams


def run(rounds: int, short: bool) -> list[Row]:
    """They take turns on one server."""
    studies, seconds = (200, 10.0) if short else (600, 25.0)
    images = list({image for image, _ in itertools.islice(mixture(0), 100)})
    plain, bulk = list[float](), list[float]()
    with TemporaryDirectory() as name, serving(next(one for one in CONTESTANTS if one.name == OURS)) as (port, _):
        folder = Path(name, "images")
        folder.mkdir()
        for number in range(studies):
            (folder / f"{number:04}.png").write_bytes(images[number % len(images)])
        asyncio.run(closed_loop(port, _requests(images), IN_FLIGHT, 3.0))
        for turn in range(rounds):
            plain.append(asyncio.run(closed_loop(port, _requests(images), IN_FLIGHT, seconds)).rate)
            bulk.append(_bulk(folder, Path(name, f"{turn}.jsonl"), port))
    return [
        rates(f"{IN_FLIGHT} under way: the plain client", "reports/s", plain),
        rates(f"{IN_FLIGHT} under way: xray-report bulk", "reports/s", bulk),
        ratio("xray-report bulk / the plain client", bulk, plain, "the plain client", 0.95),
    ]


def _requests(images: list[bytes]) -> Iterator[Request]:
    query = "&".join(f"{name}={value}" for name, value in OPTIONS.items())
    return (Request("POST", f"/v1/report?{query}", "image/png", image) for image in itertools.cycle(images))


def _bulk(folder: Path, out: Path, port: int) -> float:
    """Reports a second of a whole run, from its first line on: starting Python is not what is measured."""
    flags = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", value)]
    words = [str(folder), "--out", str(out), "--server", f"http://{HOST}:{port}", "--in-flight", str(IN_FLIGHT)]
    command = [sys.executable, "-m", "app.cli", "bulk", *words, *flags]
    begun = None
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603  # our own
        while process.poll() is None:
            if begun is None and out.exists() and (lines := out.read_bytes().count(b"\n")):
                begun = time.perf_counter(), lines
            time.sleep(0.02)
    ended = time.perf_counter()
    written = [json.loads(line) for line in out.read_text().splitlines()]
    if begun is None or process.returncode or any("problem" in line for line in written):
        raise RuntimeError(f"bulk ended with {process.returncode} after {len(written)} studies")
    return (len(written) - begun[1]) / (ended - begun[0])
