"""Numbers as people and JSON read them."""

from __future__ import annotations

import pytest

from model_training.reporting import summary, tables


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.1234, ".123"), (-0.05, "-.050"), (1.5, "1.500"), (1.0, "1.000"), (400.0, "400"), (None, "n/a"), (0.0, ".000")],
)
def test_numbers_are_shown_as_the_literature_prints_them(value: float | None, shown: str) -> None:
    """Three decimals and no leading zero; counts as they are."""
    assert tables.number(value) == shown


def test_json_holds_no_nan() -> None:
    """What is undefined is null, wherever it stands."""
    assert tables.rounded({"a": [float("nan"), 0.123456], "b": {"c": "x"}}) == {"a": [None, 0.1235], "b": {"c": "x"}}


def test_studies_left_out_are_counted_and_named() -> None:
    """The first ten by name."""
    named = summary.left_out({"no image": [str(i) for i in range(12)], "an image cannot be read": ["x"]})
    assert named == "12: no image (0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more); 1: an image cannot be read (x)"
