"""Markdown tables and the numbers in them, and numbers as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Mapping[str, Mapping[str, Any]]


def plain(value: Any) -> Any:
    """The same with numbers rounded to four decimals and NaN as None."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value


def beside_bounds(row: Mapping[str, Any]) -> dict[str, float]:
    """The row with each estimate as three columns."""
    flat: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {key: value["value"], f"{key} low": value["low"], f"{key} high": value["high"]}
        else:
            flat[key] = value
    return flat


def table(rows: Rows, columns: Sequence[str], cell: Any = None) -> str:
    """A Markdown table with one line a row."""
    show = cell or number
    lines = ["| | " + " | ".join(columns) + " |", "|---" + "|---:" * len(columns) + "|"]
    lines += [f"| {name} | " + " | ".join(show(row.get(key)) for key in columns) + " |" for name, row in rows.items()]
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Counts as they are, scores with three decimals and no leading zero, as the literature prints them."""
    if value is None or math.isnan(value):
        return "n/a"
    if value == int(value) and abs(value) > 1:
        return str(int(value))
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def interval(estimate: Mapping[str, float] | None) -> str:
    """`+.123 (.100 to .146)`."""
    if estimate is None:
        return "n/a"
    sign = "+" if estimate["value"] > 0 else ""
    return f"{sign}{number(estimate['value'])} ({number(estimate['low'])} to {number(estimate['high'])})"
