"""Locations, degrees and counts in report sentences: what can be told of them, and what is taken out."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.report import Side, Zone


def _any_of(words: str) -> str:
    return f"(?:{'|'.join(words.split())})"


_SIDE = _any_of(
    "left right bilateral(?:ly)? unilateral bi-?basilar bi-?basal bi-?apical upper lower middle mid midlung"
    " basilar basal apical lingular? (?:peri|supra|infra)?hilar hilum retrocardiac central(?:ly)?"
    " peripheral(?:ly)? posterior(?:ly)? anterior(?:ly)? lateral(?:ly)? medial(?:ly)? inferior(?:ly)?"
    " superior(?:ly)? subpulmonic dependent paratracheal"
)
_DEGREE = _any_of(
    "very quite smaller small mild-to-moderate mild(?:ly)? moderate-to-severe moderate(?:ly)? larger large"
    " minimal(?:ly)? severe(?:ly)? tiny trace slight(?:ly)? borderline massive marked(?:ly)? extensive subtle"
    " subsegmental segmental focal patchy streaky linear discoid plate-?like multifocal scattered multiple several"
    " few some single bulky"
)
_QUALITY = rf"(?:{_SIDE}|{_DEGREE})(?:[\s-](?:sided|lobe|zone))?"
_REGION = _any_of(
    "lungs? lobes? bases? apex apices hemithorax hemithoraces thorax chest zones? costophrenic angles? segments?"
    " aspect hil[ai] region fields?"
)
_SEEN = _any_of("seen noted present identified located")
_WITHIN = _any_of("in at within of on along near involving throughout to")
_MEASURES = [
    # ", measuring 2 x 3 cm", "a 9 mm nodule"
    (r"(?:,? measuring|,? measures)[^;]*(?=[.;]$)", ""),
    (r"(?:approximately |about )?\d[\d.]*(?: ?x ?\d[\d.]*)*(?: ?x)?[\s-]?(?:cm|mm)s?\b[\s,-]*", ""),
]
_LEFTOVERS = [  # articles, gaps
    (r"\b(a)n?\s(?=[aeio])", r"\1n "),
    (r"\b(a)n\s(?=[^aeio\W])", r"\1 "),
    (r"\s+(?=[.,;])|\s{2,}", " "),
    (r"\s(?=[.,;])", ""),
    (r"^[\s,;]+", ""),
]


def _compiled(rules: list[tuple[str, str]]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern, re.IGNORECASE), replacement) for pattern, replacement in rules]


_WITHOUT_LOCATION = _compiled(
    [
        *_MEASURES,
        # "in the left lower lobe", "at both bases", "on the right, left greater than right"
        (
            rf",?\s+(?:{_SEEN}\s)?{_WITHIN}\s(?:the\s|both\s)?(?:(?:{_QUALITY}|and|or|{_REGION})[\s,/-]*)+"
            r"(?=[.,;]|$|with|and|which|is|are|may)",
            " ",
        ),
        (r",?\s*(?:greater on the )?(?:left|right) (?:greater|more|larger) than (?:the )?(?:left|right)", ""),
        (rf"\b{_QUALITY}(?:,?\s(?:to|and|or)\s{_QUALITY})*,?\s", ""),
        (rf",?\s{_QUALITY}(?=[.,;]|$)", ""),
        *_LEFTOVERS,
    ]
)
_WITHOUT_DEGREE = _compiled(
    [
        *_MEASURES,
        (rf"\b{_DEGREE}(?:,?\s(?:to|and|or)\s{_DEGREE})*,?\s", ""),
        *_LEFTOVERS,
    ]
)
# "No large effusion" leaves room for a small one.
_LOCATED = re.compile(
    rf"\b(?:{_SIDE}|lobes?|bases?|apex|apices|angles?|aspect|hand|large|[TL]\d+)\b|\d"
    r"|\b(?:is|are|the|to|and|or|sized|,)\.",  # broken off
    re.IGNORECASE,
)


def without_location(sentence: str) -> str:
    """The sentence with locations and degrees taken out; what could not be taken out is still to be found."""
    return _replaced(sentence, _WITHOUT_LOCATION)


def without_degree(sentence: str) -> str:
    """The sentence with degrees, counts and measures taken out; locations stay."""
    return _replaced(sentence, _WITHOUT_DEGREE)


def _replaced(sentence: str, rules: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in rules:
        sentence = pattern.sub(replacement, sentence)
    return sentence[:1].upper() + sentence[1:]


def names_location(sentence: str) -> bool:
    """Whether the sentence names a location or a measure, or was broken off when they were taken out."""
    return _LOCATED.search(sentence) is not None


class Location(NamedTuple):
    """Where a finding lies by what a sentence says, as far as that can be told."""

    side: Side | None = None
    zone: Zone | None = None


NOWHERE = Location()
# Words that place a finding on a side, in a zone (the thirds of a lung from top to bottom), or both.
_WORDS: list[tuple[str, Side | None, Zone | None]] = [
    ("bi-?basilar bi-?basal bases", "both", "lower"),
    ("bi-?apical apices", "both", "upper"),
    ("bilateral(?:ly)? both", "both", None),
    ("left left-sided", "left", None),
    ("right right-sided", "right", None),
    ("upper apical apex", None, "upper"),
    ("middle mid midlung", None, "middle"),
    ("lower basilar basal base", None, "lower"),
]
_PLACES = [(re.compile(rf"\b{_any_of(words)}\b", re.IGNORECASE), side, zone) for words, side, zone in _WORDS]
_COMPARED = re.compile(r"\b(?:than|greater|worse|more|less)\b", re.IGNORECASE)


def location_of(sentence: str) -> Location | None:
    """Where a sentence that states one finding places it; None where it says more than a side and a zone can hold."""
    if _COMPARED.search(sentence):
        return None
    sides: set[Side] = set()
    zones: set[Zone] = set()
    rest = sentence
    for pattern, side, zone in _PLACES:
        if pattern.search(rest):
            rest = pattern.sub("", rest)
            if side:
                sides.add(side)
            if zone:
                zones.add(zone)
    if re.search(rf"\b{_SIDE}\b", rest, re.IGNORECASE) or len(zones) > 1:
        return None
    if len(sides) > 1:
        if "both" not in sides:
            return None
        # "at the right base" has no bases, "both lower lobes" one side: the pair is what is left
        return Location("both", next(iter(zones), None)) if sides == {"both"} else None
    return Location(next(iter(sides), None), next(iter(zones), None))


_EXCHANGED = {"left": "right", "right": "left", "upper": "lower", "lower": "upper", "base": "apex", "apex": "base"}
_SIDES_NAMED = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_ZONES_NAMED = re.compile(r"\b(upper|lower)(?= lobe| lung| zone)|\b(base|apex)\b", re.IGNORECASE)
_OTHER_SIDE: dict[Side | None, Side | None] = {"left": "right", "right": "left"}
_OTHER_ZONE: dict[Zone | None, Zone | None] = {"upper": "lower", "lower": "upper"}


def moved(sentence: str, location: Location) -> list[tuple[str, Location]]:
    """The sentence as it would be of the same finding on the other side, in the other of the outer zones, and both."""
    found = [(sentence, location)]
    if location.side in _OTHER_SIDE and location.zone != "middle":  # the left lung has no middle lobe
        found += [
            (_exchange(_SIDES_NAMED, text), Location(_OTHER_SIDE[where.side], where.zone)) for text, where in found
        ]
    if location.zone in _OTHER_ZONE and _ZONES_NAMED.search(sentence):
        found += [
            (_exchange(_ZONES_NAMED, text), Location(where.side, _OTHER_ZONE[where.zone])) for text, where in found
        ]
    return found[1:]


def _exchange(pattern: re.Pattern[str], sentence: str) -> str:
    def other(match: re.Match[str]) -> str:
        word = _EXCHANGED[match[0].lower()]
        return word.capitalize() if match[0][0].isupper() else word

    return pattern.sub(other, sentence)
