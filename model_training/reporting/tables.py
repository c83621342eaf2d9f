"""How figures are written: rounded in files, as the literature prints them in Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

DECIMALS, SHOWN = 4, 3  # kept in files, and shown to people
Rows = Mapping[str, Mapping[str, Any]]


def rounded(value: Any) -> Any:
    """The same with numbers rounded, NaN as None: what JSON can hold."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DECIMALS)
    return value


def number(value: float | None, missing: str = "n/a") -> str:
    """Counts as they are, scores with three decimals and no leading zero, as the literature prints them."""
    if value is None or math.isnan(value):
        return missing
    if value == int(value) and abs(value) > 1:
        return str(int(value))
    shown = f"{value:.{SHOWN}f}"
    return shown.replace("0.", ".", 1) if abs(value) < 1 else shown


def interval(estimate: Mapping[str, float] | None) -> str:
    """`+.123 (.100 to .146)`, of a difference with its bounds as JSON has them."""
    if estimate is None:
        return "n/a"
    sign = "+" if estimate["value"] > 0 else ""
    return f"{sign}{number(estimate['value'])} ({number(estimate['low'])} to {number(estimate['high'])})"


def table(rows: Rows, columns: Sequence[str], cell: Callable[[Any], str] = number, align: str = "---:") -> str:
    """A Markdown table with one line a row; a cell that a row lacks is None.

    Not tabulate's: that pads every column to its widest cell, so that one longer figure changes every line.
    """
    lines = [("", *columns), *((name, *(cell(row.get(key)) for key in columns)) for name, row in rows.items())]
    head, *body = ("|" + "|".join(f" {text} " if text else " " for text in line) + "|" for line in lines)
    return "\n".join([head, "|---" + f"|{align}" * len(columns) + "|", *body])
