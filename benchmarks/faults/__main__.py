"""`python -m benchmarks.faults`: load and faults on a real server; writes `benchmarks/results/faults.json`.

The server, with the shipped checkpoint, and the clients share this machine; the clients are cheap, and not free.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.client import Request
from benchmarks.faults import phases, studies
from benchmarks.faults.overload import capacity, overload
from benchmarks.faults.phases import RECEIVE_DEADLINE_SECONDS, Bench, Phase
from benchmarks.faults.release import trials
from benchmarks.faults.rows import overload_rows, phase_rows, print_phases, release_rows, soak_rows
from benchmarks.faults.soak import soak
from benchmarks.results import Row, print_table, write
from benchmarks.server import serving

LOAD = 0.7  # of capacity
SETTINGS: dict[str, object] = {"receive_deadline_seconds": RECEIVE_DEADLINE_SECONDS, "max_requests": 256}
RUNS = ("faults", "overload", "soak")
DISK_BYTES = 4 * 2**20


def main() -> int:
    """Exit status 0 whether or not goals were met: a missed one stands in the table as missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("runs", nargs="*", help=f"which of {', '.join(RUNS)} (default: faults and overload)")
    parser.add_argument("--seconds", type=float, default=30.0, help="each phase of steady load (default 30)")
    parser.add_argument("--overload", type=float, default=120.0, help="seconds at three times capacity (default 120)")
    parser.add_argument("--soak", type=float, default=30.0, help="minutes of mixed load (default 30)")
    parser.add_argument("--short", action="store_true", help="a few seconds of each, nothing written")
    given = parser.parse_args()
    if given.short:
        given.seconds, given.overload, given.soak = 5.0, 20.0, 1.0
    for run in given.runs or RUNS[:2]:
        if run not in RUNS:
            parser.error(f"no run {run!r}")
        rows = asyncio.run(_run(run, given))
        name = "faults" if run == "faults" else f"faults-{run}"
        print_table(name, rows)
        if not given.short:
            print(f"written to {write(name, rows)}\n")
    return 0


async def _run(run: str, given: argparse.Namespace) -> list[Row]:
    with _folder(small=run == "faults") as (folder, small), serving(folder, **SETTINGS) as server:
        good = await studies.with_expected(server.port, studies.good())
        round_seconds = min(10.0, given.seconds)
        if run == "overload":
            return overload_rows(await overload(server, good, given.overload, round_seconds))
        peak = await capacity(server, good, round_seconds, rounds=3)
        bench = Bench(server, good, studies.bad(), LOAD * peak.reports, given.seconds)
        bench.at_bounds = await studies.at_bounds(server.port)
        print(f"{run}: capacity {peak.reports:.2f} reports/s, load {bench.rate:.2f}/s", flush=True)
        if run == "soak":
            bench.seconds = 60 * given.soak
            result = await soak(bench)
            print_phases([result.phase])
            return soak_rows(result)
        done, exit_code = await _faults(bench, folder if small else None)
        released = await _release(server_folder=folder, good=good)
        print_phases(done)
        rows = [row for phase in done for row in phase_rows(phase)]
        return [*rows, *released, Row("exit code 0 after the drain", float(exit_code == 0), "yes", goal=1.0)]


async def _faults(bench: Bench, disk: Path | None) -> tuple[list[Phase], int]:
    """All phases one after the other, SIGTERM last."""

    async def run(name: str, fault: phases.Fault | None = None, turn: phases.Turn | None = None) -> Phase:
        # Whatever else runs on the machine, the load is a share of what the server can take now.
        bench.rate = LOAD * (await capacity(bench.server, bench.good, 5.0, rounds=1)).reports
        return await bench.run(name, fault, turn)

    bench.seconds = max(bench.seconds, RECEIVE_DEADLINE_SECONDS + 4.0)
    done = [
        await run("no fault"),
        await run("workers killed", phases.kill_workers),
        await run("30 % leave", turn=phases.some_leave),
        await run("1 in 8 bad", turn=phases.some_are_bad),
        await run("1 in 8 at bounds", turn=phases.some_go_to_the_bounds),
        await run("100 slow clients", phases.slow_clients),
    ]
    if disk is None:
        print("full disk: left out, for a small file system cannot be mounted here")
    else:
        done.append(await run("full disk", phases.full_disk(disk)))
    last, exit_code = await phases.terminated(bench)
    return [*done, last], exit_code


async def _release(server_folder: Path, good: list[Request]) -> list[Row]:
    with serving(server_folder, **SETTINGS) as server:
        return release_rows(await trials(server, good[0], 10))


@contextmanager
def _folder(*, small: bool) -> Iterator[tuple[Path, bool]]:
    """A folder for the server's files, and whether it is a small file system, which only root can have."""
    with tempfile.TemporaryDirectory() as name:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", name]
        mounted = small and subprocess.run(mount, capture_output=True, check=False).returncode == 0  # noqa: S603  # fixed words
        try:
            yield Path(name), mounted
        finally:
            if mounted:  # lazily: decode workers of a server just killed may have its log open
                subprocess.run(["umount", "--lazy", name], check=True)  # noqa: S603, S607  # what was mounted above


if __name__ == "__main__":
    sys.exit(main())
