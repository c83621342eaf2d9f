"""When a report is to be called uncertain: what it is expected to do to micro-F1, by the finding head's probabilities.

F1 is a ratio of sums over studies. Against a ratio F* of all of them, one report of TP true positives, FP false
positives and FN false negatives gains 2·TP - F*·(2·TP + FP + FN) (Dinkelbach 1967, doi 10.1287/mnsc.13.7.492).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.report import Finding
from app.text.contradictions import plain

RULE = "expected-f1"
NAMED = 3  # findings that a warning names


@dataclass(frozen=True, slots=True)
class AbstainRule:
    """A report is uncertain when its expected gain against `balance`, which is F*, is `below` that."""

    balance: float
    below: float


def expected_gain(probabilities: Sequence[float], present: Sequence[bool], balance: float) -> float:
    """The gain expected of a report that states the findings called `present` and no other, each there by its
    calibrated probability; `balance` is F*."""
    pairs = list(zip(probabilities, present, strict=True))
    right = sum(p for p, stated in pairs if stated)
    invented = sum(1 - p for p, stated in pairs if stated)
    missed = sum(p for p, stated in pairs if not stated)
    return 2 * right - balance * (2 * right + invented + missed)


def doubts(findings: Sequence[Finding], rule: AbstainRule | None) -> list[str]:
    """A line saying that the report is uncertain, and of which findings, if the rule says so."""
    if rule is None:
        return []
    gain = expected_gain([f.probability for f in findings], [f.present for f in findings], rule.balance)
    if gain >= rule.below:
        return []
    closest = sorted(findings, key=lambda finding: abs(finding.probability - 0.5))[:NAMED]
    named = ", ".join(f"{plain(finding.name)} {finding.probability:.0%}" for finding in closest)
    return [f"The report is uncertain: too much of it may be wrong or missing. Nearest to a coin toss: {named}."]
