"""The tables of settings in docs/ are the code's; `python -m tests.app.test_settings_table` prints them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.hospital_settings import HospitalSettings
from app.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {"operations.md": Settings.model_fields.keys() - HospitalSettings.model_fields.keys(),
         "pacs.md": HospitalSettings.model_fields.keys()}  # fmt: skip
HEAD = "| variable | default | range | meaning |\n|---|---|---|---|\n"
# Defaults that are found out at start.
COMPUTED = {"checkpoint": "the one in `weights/`", "threads": "cores less one", "decode_workers": "cores, at most 4"}


def default(name: str, field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return COMPUTED[name]
    if field.default is None:
        return ""
    if isinstance(field.default, tuple) and field.default:
        return ",".join(field.default)
    return str(field.default) if field.default or field.default == 0 else "none"


def range_of(field: FieldInfo) -> str:
    """The bounds of a number, ends included."""
    low, high = (
        next((getattr(one, bound) for one in field.metadata if hasattr(one, bound)), None) for bound in ("ge", "le")
    )
    return "" if low is None else f"{low} to {high}"


def table(page: str) -> str:
    rows = [
        (name.upper(), default(name, field), range_of(field), field.description)
        for name, field in Settings.model_fields.items()
        if name in PAGES[page]
    ]
    return HEAD + "".join(
        f"| `{name}` | {default} | {range_} | {meaning} |\n" for name, default, range_, meaning in rows
    )


@pytest.mark.parametrize("page", PAGES)
def test_table(page: str) -> None:
    """Names, defaults, ranges and meanings stand there as the code has them."""
    assert table(page) in (DOCS / page).read_text()


def test_every_number_has_a_range() -> None:
    """Both ends of every number stand in its field."""
    for name, field in Settings.model_fields.items():
        if field.annotation in (int, float, int | None):
            assert re.fullmatch(r"[0-9.]+ to [0-9.]+", range_of(field)), name


def test_meanings() -> None:
    """Every setting says what it means."""
    assert all(field.description and field.description.endswith(".") for field in Settings.model_fields.values())


if __name__ == "__main__":
    print(*map(table, PAGES), sep="\n", end="")
