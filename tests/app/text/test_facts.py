"""What one report can say of several findings at once."""

from __future__ import annotations

import pytest

from app.text.facts import DENIED, PASSED_OVER, Fact, consistent, stated

NAMES = ("infiltration", "pneumonia", "effusion")  # the first two are one to the labeller


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ((DENIED, DENIED, PASSED_OVER, DENIED), (DENIED, DENIED, PASSED_OVER, DENIED)),
        ((DENIED, PASSED_OVER, DENIED, DENIED), (PASSED_OVER, PASSED_OVER, DENIED, DENIED)),
        ((DENIED, stated("left"), DENIED, stated()), (PASSED_OVER, stated("left"), DENIED, stated())),
        ((stated(), stated("left"), DENIED, stated()), (stated("left"), stated("left"), DENIED, stated())),
        ((PASSED_OVER, PASSED_OVER, stated(), DENIED), (PASSED_OVER, PASSED_OVER, stated(), stated())),
    ],
)
def test_findings_that_are_one_to_the_labeller_are_told_together(
    told: tuple[Fact, ...], said: tuple[Fact, ...]
) -> None:
    """Denied where all of them are, in one place where any is stated; nothing is found where nothing is stated."""
    assert consistent(told, NAMES) == said
