"""What the words of a report say of the findings that the finding head decides on, and where the two disagree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from app.report import Finding
from app.text.cleaning import clean
from app.text.findings import IMAGE_LABELS, LABEL_WORDS, POSITIVE, Mention
from app.text.labeller import label_sentence, says_normal
from app.text.sentences import Sentence

_OWN_WORDS = {label: re.compile(words) for label, words in LABEL_WORDS.items()}

# A finding by the labeller's name, and the indices of those of the head that it is about.
Named = tuple[Mention, tuple[int, ...]]


@lru_cache(maxsize=65536)  # reports repeat their sentences
def named_findings(sentence: str, names: tuple[str, ...]) -> tuple[Named, ...]:
    """What a sentence says of the head's findings, called `names`; findings the head does not know are left out.

    Where several of them are one to the labeller (infiltration, pneumonia and consolidation are airspace opacity), a
    sentence is about those whose own words it uses, or else about all.
    """
    text = clean(sentence)
    found = []
    for mention in label_sentence(text).values():
        group = [i for i, name in enumerate(names) if IMAGE_LABELS.get(name, name) == mention.finding]
        own = [i for i in group if names[i] in _OWN_WORDS and _OWN_WORDS[names[i]].search(text)]
        if group:
            found.append((mention, tuple(own or group)))
    return tuple(found)


def contradictions(sentences: Iterable[Sentence], findings: Sequence[Finding]) -> list[str]:
    """A line for each finding that the text states and the head calls absent, for each that it denies and the head
    calls present, for each that it places on another side than the head, for each that a section mentions twice, and
    where it says that nothing was found; one more for those that the head calls present and the text passes over.

    A finding that is doubted is mentioned and contradicts nothing; one that is stated in one sentence of a section and
    denied in another is stated there.
    """
    sentences = list(sentences)
    names = tuple(finding.name for finding in findings)
    said = [(s.section, *named) for s in sentences for named in named_findings(s.text, names)]
    affirmed = {(section, mention.finding) for section, mention, _ in said if mention.status in POSITIVE}
    stated: dict[tuple[str, tuple[int, ...]], dict[str, None]] = {}
    for section, mention, about in said:
        if mention.status == "present" and not any(findings[i].present for i in about):
            name = plain(names[about[0]]) if len(about) == 1 else mention.finding
            stated.setdefault((name, about), {})[section] = None
    lines = []
    for (name, about), sections in stated.items():
        sure = ", ".join(map(_percent, (findings[i] for i in about))) if len(about) > 1 else _share(findings[about[0]])
        where = f"{' and '.join(sections)} section{'s state' if len(sections) > 1 else ' states'}"
        lines.append(f"The {where} {name}, but the finding head calls it absent ({sure}).")
    lines += _misplaced(said, findings)
    lines += [
        f"The {section} section mentions {finding} more than once."
        for (section, finding), count in Counter((section, mention.finding) for section, mention, _ in said).items()
        if count > 1
    ]
    present = [_percent(finding) for finding in findings if finding.present]
    calm = [sentence.section for sentence in sentences if says_normal(sentence.text)]
    if present and calm:
        lines.append(f"The {calm[0]} section says that nothing was found, but the finding head calls {present[0]}.")
    passed_over: list[str] = []
    for i, finding in enumerate(findings):
        if not finding.present:
            continue
        mentioning = {section: mention.finding for section, mention, about in said if i in about}
        denying = [section for section, name in mentioning.items() if (section, name) not in affirmed]
        if denying:
            denied = f"The {denying[0]} section denies {plain(finding.name)}"
            lines.append(f"{denied}, but the finding head calls it present ({_share(finding)}).")
        elif not any(name == IMAGE_LABELS.get(finding.name, finding.name) for _, name in affirmed):
            passed_over.append(_percent(finding))
    if passed_over:
        lines.append(f"The report does not mention what the finding head calls present: {', '.join(passed_over)}.")
    return lines


def _misplaced(said: Iterable[tuple[str, Mention, tuple[int, ...]]], findings: Sequence[Finding]) -> Iterator[str]:
    for section, mention, about in said:
        sides = {where.side for i in about if findings[i].present for where in findings[i].locations if where.side}
        told: set[str] = {"left", "right"} if "both" in sides else {*sides}
        if mention.status == "present" and mention.sides and told and mention.sides != told:
            named, known = (" and ".join(sorted(sides)) for sides in (mention.sides, told))
            yield f"The {section} section places {mention.finding} {named}, the finding head {known}."


def _share(finding: Finding) -> str:
    return f"{finding.probability:.0%}"


def _percent(finding: Finding) -> str:
    return f"{plain(finding.name)} {finding.probability:.0%}"


def plain(name: str) -> str:
    """A finding's name as people write it."""
    return name.replace("_", " ")
