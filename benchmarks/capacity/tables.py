"""The tables of docs/capacity.md: replicas by load and p99, days that scale by themselves, and the check."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.capacity.arrivals import HOUR, Times, bursts, peak_rate, poisson
from benchmarks.capacity.curve import Curve, Kind
from benchmarks.capacity.fleet import Autoscaling, Failures, Fleet
from benchmarks.capacity.planning import Arrivals, Plan, estimate, window
from model_training.reporting.tables import table

# One H200 with eight decode workers, fast: put together from docs/performance.md, not measured as a curve. A step of 16
# reports of four beams is .4 ms, one of a report alone .47; 247 reports a second with the rows all taken leave 2.5 ms
# for encoding one. Two views, each decoded in 100 ms as a DICOM file.
GPU = Curve(
    (Kind("two DICOM views", 2, 3, 60.0, 0.1, 0.0035),),
    encode_seconds=0.0025,
    step_rows=(3.0, 64.0),
    step_seconds=(0.00047, 0.0005),
    cores=16.0,
    decode_workers=16,
    accelerator=True,
)
_OFF, _OF_CHECK = ", prediction off by", " of capacity: "
Cells = dict[str, str]


@dataclass(frozen=True, slots=True)
class Burst:
    """Studies that come together: how many on average, and seconds between two."""

    size: float
    spacing: float = 0.5


def busiest_hours(curve: Curve, loads: Sequence[float], burst: Burst | None, seeds: int) -> dict[str, Plan]:
    """Plans for the busiest hour of days of so many studies, by what the table calls them."""
    found = {}
    for load in loads:
        rate = peak_rate(load)
        found[f"{load:,.0f} a day, {rate:,.{0 if rate > 10 else 3}f}/s"] = Plan(
            curve, partial(_arrivals, rate, burst), seeds=seeds
        )
    return found


def _arrivals(rate: float, burst: Burst | None, rng: np.random.Generator) -> Times:
    seconds = window(rate)
    return bursts(rate, seconds, burst.size, burst.spacing, rng) if burst else poisson(rate, seconds, rng)


def replicas(plans: Mapping[str, Plan], targets: Sequence[float]) -> str:
    """The fewest replicas for each p99; in brackets what it is then, with its interval, and how busy they are."""
    rows = {name: {_within(target): _needed(plan, target) for target in targets} for name, plan in plans.items()}
    return _markdown(rows)


def _within(target: float) -> str:
    return f"p99 ≤ {target:g} s"


def _needed(plan: Plan, target: float) -> str:
    try:
        count = plan.replicas(target)
    except ValueError:
        return "none"
    found = plan.p99(count)
    return f"{count:,} ({_seconds(found.mean)} ± {_seconds(found.half)} s, {100 * plan.utilisation(count):.0f} %)"


def days(
    curve: Curve,
    arrivals: Mapping[str, Arrivals],
    rule: Autoscaling,
    failures: Failures | None,
    price: float,
    seeds: int,
) -> str:
    """Days on replicas that come and go: they begin with the fewest."""
    rows: dict[str, Cells] = {}
    for name, day in arrivals.items():
        outcomes = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            outcomes.append(Fleet(curve, rule.least, rng, rule, failures).run(day(rng)))
        p99 = estimate([one.percentile(0.99) for one in outcomes])
        hours = statistics.mean(one.replica_seconds / HOUR for one in outcomes)
        studies = statistics.mean(len(one.seconds) for one in outcomes)
        rows[name] = {
            "p99": f"{_seconds(p99.mean)} ± {_seconds(p99.half)} s",
            "refused": f"{statistics.mean(one.refused for one in outcomes):,.0f}",
            "begun again": f"{statistics.mean(one.repeated for one in outcomes):,.0f}",
            "most replicas": f"{max(one.most_replicas for one in outcomes):,}",
            "replica-hours": f"{hours:,.0f}",
            "busy": f"{100 * statistics.mean(one.utilisation for one in outcomes):.0f} %",
            "price": f"{hours * price:,.2f}",
            "of 1,000 studies": f"{1e3 * hours * price / studies:.3f}",
        }
    return _markdown(rows)


def of_curve(rows: Sequence[Mapping[str, Any]]) -> str:
    """What was measured of one replica, from the rows of `benchmarks/results/capacity.json`."""
    return _markdown(
        {
            row["name"]: {"": f"{row['value']:.3g} {row['unit']}"}
            for row in rows
            if _OFF not in row["name"] and _OF_CHECK not in row["name"]
        }
    )


def check(rows: Sequence[Mapping[str, Any]], of: str) -> str:
    """What was foretold and measured, from the rows with this word in their name."""
    cells: dict[str, Cells] = {}
    for row in rows:
        name, _, what = str(row["name"]).partition(": ")
        if of not in name or not what or what.startswith("the client's"):
            continue
        missed = ", **missed**" if row["met"] is False else ""
        off = f"{row['value']:.0f} {row['unit']}"
        cell = f"{row['note']}: {off}{missed}" if what.endswith(_OFF) else off
        cells.setdefault(name, {})[what.removesuffix(_OFF)] = cell
    return _markdown(cells)


def fill(page: Path, tables: Mapping[str, str]) -> None:
    """Puts each table between the two comments of the page that bear its name. Raises ValueError where they lack."""
    text = page.read_text()
    for name, content in tables.items():
        before, begun, rest = text.partition(f"<!-- {name} -->\n")
        _, ended, after = rest.partition("\n<!-- end -->")
        if not begun or not ended:
            raise ValueError(f"{page} has no place for the table {name!r}")
        text = before + begun + content + ended + after
    page.write_text(text)


def _markdown(rows: Mapping[str, Cells]) -> str:
    columns = list(next(iter(rows.values()), {}))
    return table(rows, columns, cell=lambda text: text or "", align="---")


def _seconds(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.2f}"
