"""When a report is called uncertain."""

from __future__ import annotations

import pytest

from app.inference.uncertainty import AbstainRule, doubts, expected_gain
from app.report import Finding


def test_the_gain_of_a_report_is_what_it_does_to_micro_f1() -> None:
    """Certain hits gain, certain misses and inventions lose, by the ratio it is held against."""
    assert expected_gain([1.0], [True], 0.5) == 2 - 0.5 * 2
    assert expected_gain([0.0], [True], 0.5) == expected_gain([1.0], [False], 0.5) == -0.5
    assert expected_gain([0.0], [False], 0.5) == expected_gain([], [], 0.5) == 0
    assert expected_gain([0.5, 0.25], [True, False], 0.4) == pytest.approx(1.0 - 0.4 * (1.0 + 0.5 + 0.25))


def test_an_uncertain_report_says_of_what() -> None:
    """The findings nearest to a coin toss, with their probabilities; nothing above the bar or without a rule."""
    findings = [Finding(name, p, p > 0.4, 0.4) for name, p in zip("abcd", (0.9, 0.45, 0.02, 0.3), strict=True)]
    findings.append(Finding("pleural_thickening", 0.54, True, 0.5))
    assert doubts(findings, AbstainRule(balance=0.5, below=5.0)) == [
        "The report is uncertain: too much of it may be wrong or missing."
        " Nearest to a coin toss: pleural thickening 54%, b 45%, d 30%."
    ]
    assert doubts(findings, AbstainRule(balance=0.5, below=-5.0)) == doubts(findings, None) == []
