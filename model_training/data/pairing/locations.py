"""Locations, sides, sizes and counts in report sentences: what labels of whole images cannot know."""

from __future__ import annotations

import re


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
_RULES = [
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in [
        # ", measuring 2 x 3 cm", "a 9 mm nodule"
        (r"(?:,? measuring|,? measures)[^;]*(?=[.;]$)", ""),
        (r"(?:approximately |about )?\d[\d.]*(?: ?x ?\d[\d.]*)*(?: ?x)?[\s-]?(?:cm|mm)s?\b[\s,-]*", ""),
        # "in the left lower lobe", "at both bases", "on the right, left greater than right"
        (
            rf",?\s+(?:{_SEEN}\s)?{_WITHIN}\s(?:the\s|both\s)?(?:(?:{_QUALITY}|and|or|{_REGION})[\s,/-]*)+"
            r"(?=[.,;]|$|with|and|which|is|are|may)",
            " ",
        ),
        (r",?\s*(?:greater on the )?(?:left|right) (?:greater|more|larger) than (?:the )?(?:left|right)", ""),
        (rf"\b{_QUALITY}(?:,?\s(?:to|and|or)\s{_QUALITY})*,?\s", ""),
        (rf",?\s{_QUALITY}(?=[.,;]|$)", ""),
        # what that leaves: articles, gaps
        (r"\b(a)n?\s(?=[aeio])", r"\1n "),
        (r"\b(a)n\s(?=[^aeio\W])", r"\1 "),
        (r"\s+(?=[.,;])|\s{2,}", " "),
        (r"\s(?=[.,;])", ""),
        (r"^[\s,;]+", ""),
    ]
]
# "No large effusion" leaves room for a small one.
_LOCATED = re.compile(
    rf"\b(?:{_SIDE}|lobes?|bases?|apex|apices|angles?|aspect|hand|large|[TL]\d+)\b|\d"
    r"|\b(?:is|are|the|to|and|or|sized|,)\.",  # broken off
    re.IGNORECASE,
)


def without_location(sentence: str) -> str:
    """The sentence with locations and degrees taken out; what could not be taken out is still to be found."""
    for pattern, replacement in _RULES:
        sentence = pattern.sub(replacement, sentence)
    return sentence[:1].upper() + sentence[1:]


def names_location(sentence: str) -> bool:
    """Whether the sentence names a location or a measure, or was broken off when they were taken out."""
    return _LOCATED.search(sentence) is not None
