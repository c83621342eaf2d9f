"""`python -m benchmarks.capacity`: how many replicas a load needs, by a simulation of what one was measured to cost.

`python -m benchmarks capacity` measures that, and checks the simulation against the real server.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.capacity import tables
from benchmarks.capacity.arrivals import department_day, read_times
from benchmarks.capacity.costs import DICOM
from benchmarks.capacity.curve import Curve, read_curve
from benchmarks.capacity.fleet import Autoscaling, Failures
from benchmarks.capacity.measure import CURVE
from benchmarks.capacity.planning import Arrivals, Plan
from benchmarks.capacity.tables import Burst
from benchmarks.results import FOLDER
from benchmarks.server import ROOT

PAGE = ROOT / "docs" / "capacity.md"
LOADS = (200.0, 1e3, 1e4, 1e5, 1e6, 1e7)  # studies a day: a department, a hospital, a region, …, a country's screening
TARGETS = (1.0, 5.0, 30.0)
BURST = 50.0
FAILURES = Failures(24 * 3600.0, 60.0)
POD_SECONDS = 60.0  # until a replica has its machine, its image and its model, which alone is ready sooner
FEWEST, MOST = 2, 1_000


def main(arguments: list[str] | None = None) -> int:
    """Exit status 2 after one line on standard error that says what is wrong."""
    given = _parser().parse_args(arguments)
    try:
        curve = read_curve(given.curve)
        if given.write:
            tables.fill(PAGE, _tables(curve, given.seeds))
            print(f"written to {PAGE}")
        else:
            print(_answer(curve.of(given.kind) if given.kind else curve, given))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    add = parser.add_argument
    add("--loads", type=_positive, nargs="+", default=LOADS, metavar="N", help="studies of a day")
    add("--arrivals", type=Path, metavar="CSV", help="instead: times of arrivals, seconds or ISO 8601, one a line")
    add("--p99", type=_positive, nargs="+", default=TARGETS, metavar="S", help="seconds in which 99 of 100 are wanted")
    add("--burst", type=_positive, metavar="N", help="studies come in bursts of so many on average, two a second")
    add("--kind", help=f'studies of this kind alone, such as "{DICOM}" (default: the mixture that was measured)')
    add("--curve", type=Path, default=CURVE, help="what one replica costs (default: what was measured last)")
    add("--seeds", type=int, default=5, help="how often each is simulated (default 5)")
    add("--autoscale", type=int, nargs=2, metavar=("LEAST", "MOST"), help="a day of replicas that come and go")
    add("--start", type=_positive, default=POD_SECONDS, metavar="S", help="then: until one is ready (default 60)")
    add("--mtbf", type=_positive, metavar="HOURS", help="then: a replica fails so often")
    add("--mttr", type=_positive, default=60.0, metavar="S", help="then: until another one is begun (default 60)")
    add("--price", type=_positive, default=1.0, help="then: of a replica for an hour (default 1)")
    add("--write", action="store_true", help=f"fill the tables of {PAGE.relative_to(ROOT)}")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def _answer(curve: Curve, given: argparse.Namespace) -> str:
    if given.autoscale:
        least, most = given.autoscale
        if not 1 <= least <= most:
            raise ValueError("--autoscale: from 1, the least first")
        failures = Failures(given.mtbf * 3600.0, given.mttr) if given.mtbf else None
        days: dict[str, Arrivals] = {f"{load:,.0f}": partial(department_day, load) for load in given.loads}
        if given.arrivals:
            times = read_times(given.arrivals)
            days = {given.arrivals.name: lambda _: times}
        curve = replace(curve, start_seconds=given.start)
        return tables.days(curve, days, Autoscaling(least, most), failures, given.price, given.seeds)
    if given.arrivals:
        times = read_times(given.arrivals)
        plans = {given.arrivals.name: Plan(curve, lambda _: times, seeds=given.seeds, warm_up=0.0)}
    else:
        plans = tables.busiest_hours(curve, given.loads, Burst(given.burst) if given.burst else None, given.seeds)
    return tables.replicas(plans, given.p99)


def _tables(curve: Curve, seeds: int) -> dict[str, str]:
    """What stands on the page, from the measured curve and the check's results."""
    check = json.loads((FOLDER / "capacity.json").read_text())["rows"]
    dicom = curve.of(DICOM)
    days = {f"{load:,.0f}": partial(department_day, load) for load in LOADS[3:5]}
    scaled = replace(dicom, start_seconds=POD_SECONDS)
    return {
        "curve": tables.of_curve(check),
        "clients": tables.check(check, "that wait"),
        "check": tables.check(check, "of capacity"),
        "replicas, films": tables.replicas(tables.busiest_hours(curve, LOADS, None, seeds), TARGETS),
        "replicas, DICOM": tables.replicas(tables.busiest_hours(dicom, LOADS, None, seeds), TARGETS),
        "replicas, bursts": tables.replicas(tables.busiest_hours(dicom, LOADS[:5], Burst(BURST), seeds), TARGETS),
        "replicas, GPU": tables.replicas(tables.busiest_hours(tables.GPU, (*LOADS[-2:], 1e8), None, seeds), TARGETS),
        "days": tables.days(scaled, days, Autoscaling(FEWEST, MOST), FAILURES, 1.0, min(seeds, 3)),
    }


if __name__ == "__main__":
    sys.exit(main())
