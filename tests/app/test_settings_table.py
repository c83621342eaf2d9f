"""The table of settings in docs/operations.md is the code's; `python -m tests.app.test_settings_table` prints it."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
HEAD = "| variable | default | range | meaning |\n|---|---|---|---|\n"
# Defaults that are found out at start.
COMPUTED = {"checkpoint": "the one in `weights/`", "threads": "cores less one", "decode_workers": "cores, at most 4"}


def default(name: str, field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return COMPUTED[name]
    if field.default is None:
        return ""
    return str(field.default) if field.default or field.default == 0 else "none"


def range_of(field: FieldInfo) -> str:
    """The bounds of a number, ends included."""
    low, high = (
        next((getattr(one, bound) for one in field.metadata if hasattr(one, bound)), None) for bound in ("ge", "le")
    )
    return "" if low is None else f"{low} to {high}"


def table() -> str:
    rows = [
        (name.upper(), default(name, field), range_of(field), field.description)
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + "".join(
        f"| `{name}` | {default} | {range_} | {meaning} |\n" for name, default, range_, meaning in rows
    )


def test_table() -> None:
    """Names, defaults, ranges and meanings stand there as the code has them."""
    assert table() in PAGE.read_text()


def test_every_number_has_a_range() -> None:
    """Both ends of every number stand in its field."""
    for name, field in Settings.model_fields.items():
        if field.annotation in (int, float):
            assert re.fullmatch(r"[0-9.]+ to [0-9.]+", range_of(field)), name


def test_meanings() -> None:
    """Every setting says what it means."""
    assert all(field.description and field.description.endswith(".") for field in Settings.model_fields.values())


if __name__ == "__main__":
    print(table(), end="")
