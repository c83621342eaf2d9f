"""Numbers as JSON, Python and people write them, and values at and beyond every option's bounds."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from app.inference.options import EARLY_STOPPING, INCLUDES, OBJECTS, OPERATING_POINTS, RANGES, Range

_NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.floats(width=16),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
    st.booleans(),
    st.none(),
)
TEXTS = st.one_of(
    _NUMBERS.map(str),
    _NUMBERS.map(repr),
    st.one_of(st.integers(), st.floats()).map(json.dumps),
    st.integers().flatmap(lambda n: st.sampled_from((hex(n), oct(n), bin(n), f"{n:_}", f"{n:,}", f"{n:+}", f" {n} "))),
    st.floats().flatmap(lambda x: st.sampled_from((f"{x:e}", f"{x:%}", f"{x:+}", x.hex()))),
    st.integers(1, 100_000).map(lambda count: "9" * count),
    st.from_regex(r"\A-?[0-9]{0,30}\.?[0-9]{0,400}([eE][-+]?[0-9]{1,6})?\Z"),
    st.text(),
    st.text(st.characters(categories=["Nd", "Nl", "No"])),
    st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, categories=["Cs"]), min_size=1),
)

_HOSTILE = (
    *("nan", "inf", "-inf", "1e400", "-1e400", "1e-400", "1_000", " 3 ", "+3", "0x10", "3.0", "1e1", "", "-0", "-0.0"),
    *(str(2**k + d) for k in (8, 15, 16, 31, 32, 53, 63, 64, 65, 128) for d in (-1, 0, 1)),
    *(str(-(2**k)) for k in (8, 15, 31, 63, 64)),
    *(
        "9" * 1000,
        "0." + "3" * 900,
        "1e99999",
        "٣",
        "３",
        "true",
        "null",
        "[1]",
        "3\0",
        "never",
        "1.7976931348623157e308",
    ),
)


# What the options that are no numbers may be.
_WORDS: Mapping[str, Sequence[str]] = {
    "early_stopping": [*EARLY_STOPPING],
    "include": INCLUDES,
    "object": OBJECTS,
    "operating_point": OPERATING_POINTS,
}


def option_set(rng: random.Random, tokens: int) -> dict[str, str]:
    """One to four options as a client writes them, for a model that writes so many tokens: good, at the bounds, just
    beyond them, or hostile."""
    names = rng.sample([*RANGES, *_WORDS], rng.randint(1, 4))
    return {name: _value(rng, name, tokens) for name in names}


def at_and_beyond_bounds(tokens: int) -> list[dict[str, str]]:
    """Every option at both of its bounds, just beyond them and far beyond."""
    sets = []
    for name, one in RANGES.items():
        step = 1 if one.type is int else 0.001
        low, high = one.minimum, one.maximum_of(tokens)
        values = [one.type(v) for v in (low, high, low - step, high + step)]
        sets += [{name: str(value)} for value in (*values, -(2**64), 2**64, "nan", "1e400")]
    return sets


def _value(rng: random.Random, name: str, tokens: int) -> str:
    if rng.random() < 0.25:
        return rng.choice(_HOSTILE)
    if name in RANGES:
        return _number(rng, RANGES[name], tokens)
    return rng.choice(_WORDS[name])


def _number(rng: random.Random, one: Range, tokens: int) -> str:
    low, high = one.minimum, one.maximum_of(tokens)
    if rng.random() < 0.4:
        step = 1 if one.type is int else 1e-6
        return str(one.type(rng.choice((low, high)) + rng.choice((-step, 0, 0, step))))
    return str(rng.randint(int(low), int(high)) if one.type is int else rng.uniform(low, high))
