"""Names and other words of a header, made ready for fonts that do not have every script."""

from __future__ import annotations

import re
import unicodedata

from arabic_reshaper import reshape

from app.interop.page.style import register_fonts
from app.interop.source import family_and_given

UNDRAWABLE = "\N{WHITE SQUARE}"
_RUN = r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]+"  # Hebrew to Arabic, and their presentation forms
_NUMBER = re.compile(r"\d+(?:[-./:,]\d+)*")
_RIGHT_TO_LEFT = re.compile(rf"{_RUN}(?:\s+{_RUN})*")


def drawable(text: str) -> tuple[str, bool]:
    """The text as it is to be drawn from left to right, and whether all of it can be.

    Arabic is joined and what runs from right to left is turned, by runs: names need no more of UAX #9.
    """
    known = register_fonts()
    mirrored = _RIGHT_TO_LEFT.search(text)
    text = reshape(text) if mirrored else text
    drawn = "".join(c if ord(c) in known or c.isspace() else UNDRAWABLE for c in text)
    return _in_order(drawn) if mirrored else drawn, UNDRAWABLE not in drawn


def person(name: str) -> tuple[str, bool]:
    """A name of DICOM for a reader, `Family, Given Middle`, and whether all of it can be drawn.

    Of its groups (Latin, ideographic, phonetic) it is the first that can be drawn, else the first.
    """
    groups = [family_and_given(group) for group in name.split("=") if group.strip("^ ")]
    drawn = [drawable(", ".join(filter(None, group))) for group in groups]
    return next((one for one in drawn if one[1]), drawn[0] if drawn else ("", True))


def _in_order(text: str) -> str:
    if any(unicodedata.bidirectional(c) == "L" for c in text):
        return _RIGHT_TO_LEFT.sub(lambda run: _turned(run[0]), text)
    return _turned(text)


def _turned(text: str) -> str:
    """Backwards, but numbers, which are read from left to right in every script."""
    return _NUMBER.sub(lambda number: number[0][::-1], text[::-1])
