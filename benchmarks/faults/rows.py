"""What the runs found as rows of `benchmarks/results.py`, and as the one table for reading."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.faults.overload import Overload
from benchmarks.faults.phases import Phase
from benchmarks.faults.release import Trial
from benchmarks.faults.soak import Soak
from benchmarks.results import Row


def phase_rows(phase: Phase) -> list[Row]:
    """A phase of steady load."""
    name = phase.name
    return [
        Row(f"{name}: good requests answered right", phase.right, "requests", goal=phase.sent),
        Row(f"{name}: good requests without answer", phase.lost, "requests", goal=0, at_most=True),
        Row(f"{name}: good requests refused with 503", phase.refused, "requests", goal=0, at_most=True),
        Row(f"{name}: good requests past their deadline", phase.late, "requests", goal=0, at_most=True),
        Row(f"{name}: good requests answered wrong", phase.harmed, "requests", goal=0, at_most=True),
        Row(f"{name}: faults injected", phase.faults, "faults"),
        Row(f"{name}: faults not met as they should", phase.unexpected, "faults", goal=0, at_most=True),
        Row(f"{name}: memory growth", phase.memory_after - phase.memory_before, "MiB"),
        Row(f"{name}: median latency", phase.median, "s", spread=_spread(phase.latencies)),
    ]


def release_rows(trials: Sequence[Trial]) -> list[Row]:
    """Rows of gone clients."""
    late = [1e3 * (trial.seconds - trial.step_seconds) for trial in trials]
    return [
        Row("rows of gone clients free, beyond one step", max(late), "ms", spread=_spread(late), goal=50, at_most=True),
        Row("neighbours of gone clients right", sum(t.neighbour_right for t in trials), "studies", goal=len(trials)),
    ]


def overload_rows(result: Overload) -> list[Row]:
    """Three times the capacity."""
    refused, told = result.refused_seconds, result.told_seconds
    return [
        Row("capacity before, closed loop", result.before.reports, "reports/s"),
        Row("capacity before: processor time of the server", result.before.processors, "processors"),
        Row("capacity after", result.after.reports, "reports/s"),
        Row("capacity after: processor time of the server", result.after.processors, "processors"),
        Row("3x: processor time of the server", result.processors, "processors"),
        Row("3x: processor time of the clients", result.client_processors, "processors"),
        Row("3x: goodput of peak", result.goodput, "share", goal=0.95),
        Row("3x: goodput of peak, for equal processor time", result.goodput_per_processor, "share"),
        Row("3x: reports that were wrong", result.wrong, "requests", goal=0, at_most=True),
        Row(
            "3x: neither report nor 503 with Retry-After",
            len(result.other),
            "requests",
            goal=0,
            at_most=True,
            note=" ".join(map(str, result.other[:10])),
        ),
        Row(
            "3x: time to a refusal, p99",
            1e3 * _p99(refused),
            "ms",
            spread=_spread(refused, 1e3),
            goal=20,
            at_most=True,
        ),
        Row("3x: of it inside the server, p99", 1e3 * _p99(result.refused_inside), "ms"),
        Row("3x: refused", len(refused), "requests", spread=(result.sent, result.sent)),
        Row("3x: Retry-After, median", statistics.median(told) if told else 0.0, "s", spread=_spread(told)),
        Row("3x: succeeded when coming back as told", result.succeeded / max(1, result.came_back), "share", goal=0.9),
    ]


def soak_rows(result: Soak) -> list[Row]:
    """Mixed load for long."""
    growth, opened = result.third(2) / result.third(1), result.files_after - result.files_before
    return [
        *phase_rows(result.phase),
        Row("soak: length", result.phase.seconds / 60, "min"),
        Row("soak: memory, last third of that before", growth, "ratio", goal=1.03, at_most=True),
        Row("soak: memory", result.third(2), "MiB", spread=_spread(result.memory)),
        Row("soak: open files, after less before", opened, "files", goal=0, at_most=True),
    ]


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else 0.0


def _spread(values: Sequence[float] | Sequence[int], scale: float = 1.0) -> tuple[float, float]:
    return (scale * min(values), scale * max(values)) if values else (0.0, 0.0)


def print_phases(phases: Sequence[Phase]) -> None:
    """The table of phases."""
    print(f"{'phase':22s} {'load held':>16s} {'faults':>7s} {'unmet':>6s} {'lost':>5s} {'refused':>8s} "
          f"{'late':>5s} {'harmed':>7s} {'median':>8s} {'memory before, after':>22s}")  # fmt: skip
    for phase in phases:
        seconds = max(phase.seconds, 1e-9)
        held = f"{phase.right / seconds:.2f} of {phase.sent / seconds:.2f}/s"
        memory = f"{phase.memory_before:.0f}, {phase.memory_after:.0f} MiB"
        print(f"{phase.name:22s} {held:>16s} {phase.faults:7d} {phase.unexpected:6d} "
              f"{phase.lost:5d} {phase.refused:8d} {phase.late:5d} {phase.harmed:7d} "
              f"{phase.median:7.3f}s {memory:>22s}", flush=True)  # fmt: skip
