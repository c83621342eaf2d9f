"""Rule labeller: which findings a report text affirms, denies or doubts, and on which side.

It reads original text and text cleaned by the R2Gen protocol alike, with the same labels. A mention is denied when it
stands in the scope of a denial, else doubted when its sentence doubts, else present.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from app.text import phrases
from app.text.cleaning import clean
from app.text.findings import MIDLINE, Mention, Status

_STRENGTH: dict[Status, int] = {"absent": 0, "uncertain": 1, "present": 2}
_PRESENT = [(finding, phrases.compile_phrase(p)) for finding, ps in phrases.PRESENT.items() for p in ps]
_ABSENT = [(finding, phrases.compile_phrase(p)) for finding, ps in phrases.ABSENT.items() for p in ps]
_NEGATED_AFTER, _NEGATED_BEFORE = map(phrases.compile_phrase, (phrases.NEGATED_AFTER, phrases.NEGATED_BEFORE))
_SCOPE_END, _CONTRAST = map(phrases.compile_phrase, (phrases.SCOPE_END, phrases.CONTRAST))
_NO_CHANGE, _NOT_EXCLUDED = map(phrases.compile_phrase, (phrases.NO_CHANGE, phrases.NOT_EXCLUDED))
_DOUBTED = phrases.compile_phrase(phrases.DOUBTED)
_SIDES = [
    (frozenset({"left", "right"}), phrases.compile_phrase(phrases.BILATERAL)),
    (frozenset({"left"}), phrases.compile_phrase(phrases.LEFT)),
    (frozenset({"right"}), phrases.compile_phrase(phrases.RIGHT)),
]

_NORMALITY = re.compile(
    r"""(?: (?:there\ (?:is|are)\ )? (?:no|negative\ for|without)
            (?:\ (?:radiographic\ |convincing\ )?evidence\ (?:of|for))?\s
            (?:(?:acute|active|significant|radiographic|focal|or|and|visible|,)[\s/]*)+
            (?:(?:cardio-?pulmonary|pulmonary|cardiac|intrathoracic|cardiothoracic|chest|lung|disease)[\s/]*)*
            (?:abnormalit(?:y|ies)|findings?|process(?:es)?|disease)?
            (?:\ (?:is\ |are\ )?(?:identified|seen|noted|demonstrated))?
          | (?:normal|negative|unremarkable) (?:\ (?:chest|lungs))? (?:\ x-ray|\ radiographs?)? )\.""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(slots=True)
class _Hit:
    finding: str
    status: Status
    start: int
    end: int
    sides: set[str] = field(default_factory=set)

    def distance(self, other: re.Match[str]) -> int:
        """Characters between this phrase and another; 0 when the other lies within."""
        return max(self.start - other.end(), other.start() - self.end, 0)


def label_report(text: str) -> dict[str, Mention]:
    """The strongest mention of each finding over the whole text: present before uncertain before absent.

    Sides of equally strong mentions are united. Findings never mentioned are missing.
    """
    # Cleaning first is what makes cleaned and original text read the same.
    sentences = clean(" ".join(text.split())).split(" . ")
    return _strongest(mention for sentence in sentences for mention in label_sentence(sentence).values())


def label_sentence(sentence: str) -> dict[str, Mention]:
    """As `label_report`, for one sentence."""
    return {mention.finding: mention for mention in _label_words(re.sub(r"\W+", " ", sentence.lower()).strip())}


def says_normal(sentence: str) -> bool:
    """Whether the sentence says that nothing was found, of no finding in particular."""
    return bool(_NORMALITY.fullmatch(sentence)) and not label_sentence(sentence)


@lru_cache(maxsize=65536)  # reports repeat their sentences
def _label_words(words: str) -> tuple[Mention, ...]:
    words = _NOT_EXCLUDED.sub("possible", _NO_CHANGE.sub("unchanged", words))
    hits = [
        _Hit(finding, _status(words, match.start(), match.end()), match.start(), match.end())
        for finding, pattern in _PRESENT
        for match in pattern.finditer(words)
    ]
    hits += [
        _Hit(finding, "absent", match.start(), match.end())
        for finding, pattern in _ABSENT
        for match in pattern.finditer(words)
    ]
    _give_sides(words, hits)
    return tuple(_strongest(Mention(hit.finding, hit.status, frozenset(hit.sides)) for hit in hits).values())


def _status(words: str, start: int, end: int) -> Status:
    """What the sentence makes of the phrase at [start, end)."""
    for denial in _NEGATED_AFTER.finditer(words, 0, end):
        # A denial inside the phrase ("heart is not enlarged") denies it whatever stands between.
        if denial.end() > start or not _SCOPE_END.search(words, denial.end(), start):
            return "absent"
    later = _NEGATED_BEFORE.search(words, end)
    if later and not _CONTRAST.search(words, end, later.start()):
        return "absent"
    return "uncertain" if _DOUBTED.search(words) else "present"


def _give_sides(words: str, hits: list[_Hit]) -> None:
    """Each side word goes to the nearest finding that can have one; one that is there without takes its sentence's."""
    sided = [hit for hit in hits if hit.finding not in MIDLINE]
    for sides, pattern in _SIDES:
        for match in pattern.finditer(words):
            nearest = min((hit.distance(match) for hit in sided), default=0)
            for hit in sided:
                if hit.distance(match) == nearest:
                    hit.sides |= sides
    named = set[str]().union(*(hit.sides for hit in sided))
    for hit in sided:
        if hit.status != "absent":
            hit.sides = hit.sides or named


def _strongest(mentions: Iterable[Mention]) -> dict[str, Mention]:
    best: dict[str, Mention] = {}
    for new in mentions:
        old = best.get(new.finding)
        if old is None or _STRENGTH[new.status] > _STRENGTH[old.status]:
            best[new.finding] = new
        elif new.status == old.status and new.sides - old.sides:
            best[new.finding] = Mention(new.finding, new.status, old.sides | new.sides)
    return best
