"""Whatever a setting is given, it is refused in one line that names it, or kept within its range."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from app.settings import PREFIX, Settings, SettingsError, load_settings
from tests.app.fuzz.numbers import TEXTS

NAMES = [*Settings.model_fields]


def within(value: float, name: str) -> bool:
    """Whether a number is finite and within the bounds of its field."""
    bounds = {key: getattr(one, key) for one in Settings.model_fields[name].metadata for key in ("ge", "le")
              if hasattr(one, key)}  # fmt: skip
    return math.isfinite(value) and bounds["ge"] <= value <= bounds["le"]


@given(given=st.dictionaries(st.sampled_from(NAMES), TEXTS, min_size=1, max_size=3))
@settings(deadline=None, max_examples=300)
def test_settings(given: dict[str, str]) -> None:
    """Any texts for any settings."""
    kept, said = outcome(given)
    if said:
        assert any(PREFIX + name.upper() in said for name in given)
        assert len(said.splitlines()) == 1
    for name, field in Settings.model_fields.items() if kept else ():
        assert field.annotation not in (int, float) or within(getattr(kept, name), name)


def outcome(given: dict[str, str]) -> tuple[Settings | None, str]:
    """The settings, or what is said of those that cannot be."""
    try:
        return load_settings(**{"checkpoint": "m.pt", **given}), ""
    except SettingsError as error:
        return None, str(error)
