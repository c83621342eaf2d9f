"""What the words of a report say of the findings that the finding head decides on, and where the two disagree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.report import Finding
from app.text.cleaning import clean
from app.text.findings import IMAGE_LABELS, LABEL_WORDS, POSITIVE, Mention
from app.text.labeller import label_sentence, says_normal
from app.text.sentences import Sentence

_OWN_WORDS = {label: re.compile(words) for label, words in LABEL_WORDS.items()}

# A finding by the labeller's name, and the indices of those of the head that it is about.
Named = tuple[Mention, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Where text and finding head disagree, in a line for a reader; `sentences` are the indices of those it is about,
    none where it is about what is not said."""

    text: str
    sentences: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Said:
    """One finding named in one sentence, by the sentence's index; `about` are indices of the head's findings."""

    sentence: int
    section: str
    mention: Mention
    about: tuple[int, ...]


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


def contradictions(sentences: Iterable[Sentence], findings: Sequence[Finding]) -> list[Contradiction]:
    """One for each finding that the text states and the head calls absent, for each that it denies and the head calls
    present or does not rule out, for each that it places on another side than the head, for each that a section
    mentions twice, and where it says that nothing was found; one more for those that the head calls present and the
    text passes over.

    A finding that is doubted is mentioned and contradicts nothing; one that is stated in one sentence of a section and
    denied in another is stated there.
    """
    sentences = list(sentences)
    names = tuple(finding.name for finding in findings)
    said = [
        _Said(i, sentence.section, *named)
        for i, sentence in enumerate(sentences)
        for named in named_findings(sentence.text, names)
    ]
    return [
        *_stated_but_absent(said, findings),
        *_misplaced(said, findings),
        *_repeated(said),
        *_calm_but_present(sentences, findings),
        *_present_but_denied(said, findings),
        *_denied_but_possible(said, findings),
    ]


def _stated_but_absent(said: Iterable[_Said], findings: Sequence[Finding]) -> Iterator[Contradiction]:
    stated: dict[tuple[str, tuple[int, ...]], list[_Said]] = {}
    for one in said:
        if one.mention.status == "present" and not any(findings[i].present for i in one.about):
            name = plain(findings[one.about[0]].name) if len(one.about) == 1 else one.mention.finding
            stated.setdefault((name, one.about), []).append(one)
    for (name, about), stating in stated.items():
        sections = list(dict.fromkeys(one.section for one in stating))
        sure = ", ".join(map(_percent, (findings[i] for i in about))) if len(about) > 1 else _share(findings[about[0]])
        where = f"{' and '.join(sections)} section{'s state' if len(sections) > 1 else ' states'}"
        yield _contradiction(f"The {where} {name}, but the finding head calls it absent ({sure}).", stating)


def _misplaced(said: Iterable[_Said], findings: Sequence[Finding]) -> Iterator[Contradiction]:
    for one in said:
        mention = one.mention
        sides = {where.side for i in one.about if findings[i].present for where in findings[i].locations if where.side}
        told: set[str] = {"left", "right"} if "both" in sides else {*sides}
        if mention.status == "present" and mention.sides and told and mention.sides != told:
            named, known = (" and ".join(sorted(sides)) for sides in (mention.sides, told))
            line = f"The {one.section} section places {mention.finding} {named}, the finding head {known}."
            yield _contradiction(line, [one])


def _repeated(said: Iterable[_Said]) -> Iterator[Contradiction]:
    mentions: dict[tuple[str, str], list[_Said]] = {}
    for one in said:
        mentions.setdefault((one.section, one.mention.finding), []).append(one)
    for (section, finding), all_of_them in mentions.items():
        if len(all_of_them) > 1:
            yield _contradiction(f"The {section} section mentions {finding} more than once.", all_of_them)


def _calm_but_present(sentences: Sequence[Sentence], findings: Sequence[Finding]) -> Iterator[Contradiction]:
    present = [_percent(finding) for finding in findings if finding.present]
    calm = [i for i, sentence in enumerate(sentences) if says_normal(sentence.text)]
    if present and calm:
        section = sentences[calm[0]].section
        line = f"The {section} section says that nothing was found, but the finding head calls {present[0]}."
        yield Contradiction(line, tuple(calm))


def _present_but_denied(said: Sequence[_Said], findings: Sequence[Finding]) -> Iterator[Contradiction]:
    """Those denied, one by one, then together those passed over."""
    affirmed = {(one.section, one.mention.finding) for one in said if one.mention.status in POSITIVE}
    passed_over: list[str] = []
    for i, finding in enumerate(findings):
        if not finding.present:
            continue
        mentioning = {one.section: one.mention.finding for one in said if i in one.about}
        denying = [section for section, name in mentioning.items() if (section, name) not in affirmed]
        if denying:
            denied = f"The {denying[0]} section denies {plain(finding.name)}"
            line = f"{denied}, but the finding head calls it present ({_share(finding)})."
            yield _contradiction(line, [one for one in said if i in one.about and one.section in denying])
        elif not any(name == IMAGE_LABELS.get(finding.name, finding.name) for _, name in affirmed):
            passed_over.append(_percent(finding))
    if passed_over:
        yield Contradiction(
            f"The report does not mention what the finding head calls present: {', '.join(passed_over)}."
        )


def _denied_but_possible(said: Sequence[_Said], findings: Sequence[Finding]) -> Iterator[Contradiction]:
    """Those that are neither present nor ruled out."""
    for i, finding in enumerate(findings):
        denying = [one for one in said if i in one.about and one.mention.status == "absent"]
        if denying and not finding.present and not finding.ruled_out:
            denied = f"The {denying[0].section} section denies {plain(finding.name)}"
            yield _contradiction(f"{denied}, which the finding head does not rule out ({_share(finding)}).", denying)


def _contradiction(text: str, about: Iterable[_Said]) -> Contradiction:
    return Contradiction(text, tuple(dict.fromkeys(one.sentence for one in about)))


def _share(finding: Finding) -> str:
    return f"{finding.probability:.0%}"


def _percent(finding: Finding) -> str:
    return f"{plain(finding.name)} {finding.probability:.0%}"


def plain(name: str) -> str:
    """A finding's name as people write it."""
    return name.replace("_", " ")
