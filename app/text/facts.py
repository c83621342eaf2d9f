"""What a report is to say, as its decoder is told: of each finding whether to state or deny it, and where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from app.report import Side, Zone
from app.text.findings import IMAGE_LABELS

Assertion = Literal["passed over", "stated", "denied"]

# The numbers of these in a `Fact` are their places here.
ASSERTIONS: tuple[Assertion, ...] = ("passed over", "stated", "denied")
SIDES: tuple[Side | None, ...] = (None, "left", "right", "both")
ZONES: tuple[Zone | None, ...] = (None, "upper", "middle", "lower")

ABNORMAL = "abnormal"
"""The fact behind those of the findings: denied where the report is to say that it found nothing."""


class Fact(NamedTuple):
    """What is to be said of one finding, by the places in `ASSERTIONS`, `SIDES` and `ZONES`."""

    assertion: int = 0
    side: int = 0
    zone: int = 0

    @property
    def stated(self) -> bool:
        """Whether it is to be stated."""
        return self.assertion == 1

    @property
    def denied(self) -> bool:
        """Whether it is to be denied."""
        return self.assertion == 2

    @property
    def place(self) -> tuple[Side | None, Zone | None]:
        """Where it lies, as far as known."""
        return SIDES[self.side], ZONES[self.zone]


PASSED_OVER, DENIED = Fact(0), Fact(2)


def stated(side: Side | None = None, zone: Zone | None = None) -> Fact:
    """The fact that a finding is there, and where."""
    return Fact(1, SIDES.index(side), ZONES.index(zone))


Facts = Sequence[Fact]  # of the findings in their order, then that of `ABNORMAL`


def consistent(facts: Facts, names: Sequence[str]) -> tuple[Fact, ...]:
    """The facts of the findings called `names` as one report can say them.

    Where several findings are one to the labeller, its text states or denies them together: a finding is denied only
    where all of them are, and they lie where the first of those with a place lies. Nothing found is said only where
    nothing is stated.
    """
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        groups.setdefault(IMAGE_LABELS.get(name, name), []).append(i)
    found = list(facts)
    for members in groups.values():
        if all(facts[i].denied for i in members):
            continue
        those = [facts[i] for i in members if facts[i].stated]
        told = next((fact for fact in those if fact.side or fact.zone), stated())
        for i in members:
            found[i] = told if facts[i].stated else PASSED_OVER
    if any(fact.stated for fact in found[:-1]):
        found[-1] = stated()
    return tuple(found)
