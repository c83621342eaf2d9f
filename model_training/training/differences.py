"""Whether two configurations train alike, in words for whoever wants to go on with a run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

_SHOWN = 60  # characters of a value


def differences(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What differs between two configurations, as "training.epochs was 10, is 20"; of the card's words, which training
    never reads, nothing."""
    found = []
    for section, values in new.items():
        for key, value in values.items():
            if section != "card" and (before := old[section][key]) != value:
                was, now = _shortened(repr(before), repr(value))
                found.append(f"{section}.{key} was {was}, is {now}")
    return found


def _shortened(old: str, new: str) -> tuple[str, str]:
    """Two texts, of long ones what a line holds from a little before they part."""
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    start = same - _SHOWN // 4 if same > _SHOWN // 2 and max(len(old), len(new)) > _SHOWN else 0
    return _cut(old, start), _cut(new, start)


def _cut(text: str, start: int) -> str:
    return "…" * (start > 0) + text[start : start + _SHOWN] + "…" * (start + _SHOWN < len(text))
