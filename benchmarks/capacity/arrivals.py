"""When studies arrive, in seconds from the beginning: Poisson, a day of a department, bursts, or times from a file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]
DAY = 86_400.0
HOUR = 3_600.0
# Of a day's studies, hour by hour: a department that works by day, with rounds of portable films before it and an
# emergency room through the night. An assumption, made up here; a file of times takes its place.
DEPARTMENT = (1.4, 1.2, 1.1, 1.1, 1.5, 3.0, 4.0, 4.6, 7.2, 8.6, 9.0, 8.2, 6.0, 6.8, 7.6, 7.0, 5.6, 4.4, 3.4, 2.8, 2.2, 1.8, 1.5, 1.4)  # fmt: skip  # noqa: E501


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> Times:
    """Independent arrivals, `rate` a second."""
    return np.sort(rng.uniform(0.0, seconds, rng.poisson(rate * seconds)))


def department_day(studies: float, rng: np.random.Generator, hours: Sequence[float] = DEPARTMENT) -> Times:
    """A day with so many studies on average, Poisson within each hour."""
    shares = np.asarray(hours) / np.sum(hours)
    return np.concatenate([hour * HOUR + poisson(studies * shares[hour] / HOUR, HOUR, rng) for hour in range(24)])


def peak_rate(studies: float, hours: Sequence[float] = DEPARTMENT) -> float:
    """Arrivals a second in the busiest hour of such a day."""
    return studies * max(hours) / sum(hours) / HOUR


def bursts(rate: float, seconds: float, size: float, spacing: float, rng: np.random.Generator) -> Times:
    """`rate` a second in bursts of `size` studies on average (geometric), `spacing` seconds between two of a burst: a
    van, or a night's worklist, that sends all it has."""
    begun = poisson(rate / size, seconds, rng)
    counts = rng.geometric(1.0 / size, len(begun))
    places = np.concatenate([np.arange(count) for count in counts]) if len(counts) else np.zeros(0)
    return np.sort(np.repeat(begun, counts) + spacing * places)


def read_times(path: Path) -> Times:
    """The first column of a CSV file: seconds, or times as ISO 8601 has them, in any order; a header is passed over.

    Raises ValueError that names the file and the line, OSError where there is none.
    """
    found: list[float] = []
    with path.open(newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or not row[0].strip():
                continue
            try:
                found.append(_seconds(row[0].strip()))
            except ValueError as error:
                if number > 1:
                    raise ValueError(f"{path}, line {number}: neither seconds nor a time") from error
    if not found:
        raise ValueError(f"{path} holds no times")
    times = np.sort(np.asarray(found))
    if not np.isfinite(times).all():
        raise ValueError(f"{path} holds a time that is no number")
    return np.asarray(times - times[0])


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()
