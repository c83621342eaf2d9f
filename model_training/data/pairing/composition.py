"""Composition: what a report says that is told facts.

Sentences are those of real reports, with the facts that the rule labeller reads in them (`statements`). A report is
made of such that together say each fact once a section and nothing else, in the order in which reports say these
things. What comes of it teaches wording; it cannot teach anything that facts do not name.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from app.text.facts import DENIED, PASSED_OVER, SIDES, ZONES, Fact, Facts, consistent, stated
from app.text.findings import IMAGE_LABELS, MIDLINE
from model_training.data.labels import ImageLabels
from model_training.data.pairing.bank import Bank, Content, lies_within
from model_training.data.pairing.locations import Location
from model_training.data.pairing.statements import (
    Statement,
    located_statement_of,
    moved_statements,
    statement_of,
    supported,
)
from model_training.data.study import Study
from model_training.data.text.text_policy import sentences

REPEATED = 2
"""How many reports must share a sentence that was rewritten: slips of the rewriting are all different."""
OWN = 0.4
"""The share of draws that are a report as it was written, as far as facts can tell it, whoever it is drawn for."""
ANYTHING = 0.3
"""The share of draws told facts at random: no image has most combinations of findings."""

AS_DECIDED = 0.7
"""The share of random facts with no denials but those that thresholds would decide on."""
RULED_OUT = 0.5
"""The share of these in which all is denied that can be: of most films something is passed over."""

ELSEWHERE = 0.2
"""How much what one section states counts in the others."""


class Composed(NamedTuple):
    """A report by section, and the facts that it says."""

    sections: dict[str, str]
    facts: tuple[Fact, ...]


class Composer:
    """Composes reports of the sentences of `studies`, whose texts the text policy has cleaned."""

    def __init__(
        self, studies: Sequence[Study], sections: Sequence[str], names: Sequence[str], denied: Sequence[str] = ()
    ) -> None:
        """`names` are the findings that facts are about, `denied` those that are denied wherever they are not stated
        (as far as that is decided by thresholds). Raises ValueError when no text says anything of any."""
        self.names, self.sections, self.denied = tuple(names), tuple(sections), frozenset(denied)
        self.groups = [IMAGE_LABELS.get(name, name) for name in names]
        self.banks = {name: Bank() for name in self.sections}
        self.reports: list[dict[str, list[Statement]]] = []
        self._locations: defaultdict[str, Counter[Location]] = defaultdict(Counter)
        said = [{name: _statements(study.sections[name]) for name in self.sections} for study in studies]
        self._fill(said)
        for one in said:
            spoken = {
                name: [located if located.text in self.banks[name].statements else plain for located, plain in part]
                for name, part in one.items()
            }
            self.reports.append(
                {name: [s for s in part if s.text in self.banks[name].statements] for name, part in spoken.items()}
            )
        self.reports = [report for report in self.reports if any(s.mentions for part in report.values() for s in part)]
        if not self.reports:
            raise ValueError("no report to pair images with says anything that labels of images could support")

    def _fill(self, said: Sequence[Mapping[str, Sequence[tuple[Statement, Statement]]]]) -> None:
        """The banks of the sections: what several reports say, elsewhere as well, and in either section where it states
        something. A location counts with all reports that say the rest of the sentence."""
        counts = Counter(text for one in said for part in one.values() for text in {plain.text for _, plain in part})
        for one in said:
            for name, part in one.items():
                for i, (located, plain) in enumerate(part):
                    self.banks[name].stands(plain, (i + 0.5) / len(part))
                    if counts[plain.text] < REPEATED:
                        continue
                    for finding in located.present:
                        self._locations[finding][located.location] += 1
                    for statement in (plain, located, *moved_statements(located)):
                        self.banks[name].add(statement, counts[plain.text])
                        for other in self.banks.values() if statement.present and not statement.absent else ():
                            other.add(statement, ELSEWHERE * counts[plain.text])

    def draw(self, study: Study, *key: int) -> Composed:
        """A report to learn from for a labelled study: the same for the same key, whoever else is drawn for."""
        rng = random.Random(f"{key} {study.id}")
        kind = rng.random()
        if kind < OWN:
            return self.own(rng)
        facts = self.anything(rng) if kind < OWN + ANYTHING else self.facts_of(study, rng)
        return self.compose(facts, rng)

    def drawn(self, rng: random.Random, own: float = OWN) -> Composed:
        """A report for nobody in particular: as it was written, in a share `own` of draws, or of facts at random."""
        return self.own(rng) if rng.random() < own else self.compose(self.anything(rng), rng)

    def texts(self, draws: int) -> Iterator[dict[str, str]]:
        """Reports that words and phrases are counted in."""
        rng = random.Random(0)
        for _ in range(draws):
            yield self.drawn(rng).sections

    def facts_of(self, study: Study, rng: random.Random) -> tuple[Fact, ...]:
        """Facts by a study's labels: what is there, somewhere, some of what is not, and nothing of the rest."""
        labels = dict(study.labels)
        facts = self._facts([labels.get(name) for name in self.names], rng.random(), rng)
        return self._with_whole(facts, normal=bool(labels.get("normal")))

    def anything(self, rng: random.Random) -> tuple[Fact, ...]:
        """Facts at random: up to eight findings, or none, one alone most often; of the others any share is denied, or
        just of those that thresholds decide on."""
        count = rng.choice((0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8))
        there = set(rng.sample(range(len(self.names)), min(len(self.names), count)))
        share = rng.random()
        labels: list[bool | None] = [i in there for i in range(len(self.names))]
        if self.denied and rng.random() < AS_DECIDED:
            share = 1.0 if rng.random() < RULED_OUT else share
            labels = [i in there or (False if n in self.denied else None) for i, n in enumerate(self.names)]
        facts = self._facts(labels, share, rng)
        return self._with_whole(facts, normal=not there and rng.random() < 0.7)

    def _facts(self, labels: Sequence[bool | None], share: float, rng: random.Random) -> list[Fact]:
        """Facts by labels; of what is not there a share is denied, together what is one to the labeller."""
        denied = {group for group in dict.fromkeys(self.groups) if rng.random() < share}
        return [
            self._stated(i, rng) if label else DENIED if label is False and self.groups[i] in denied else PASSED_OVER
            for i, label in enumerate(labels)
        ]

    def _stated(self, i: int, rng: random.Random) -> Fact:
        if self.groups[i] in MIDLINE or rng.random() < 0.3:
            return stated()
        known = self._locations[self.groups[i]]
        if rng.random() < 0.5 and known:
            return stated(*rng.choices(list(known), [count**0.5 for count in known.values()])[0])
        return Fact(1, rng.randrange(len(SIDES)), rng.randrange(len(ZONES)))

    def _with_whole(self, facts: list[Fact], *, normal: bool) -> tuple[Fact, ...]:
        found = any(fact.stated for fact in facts)
        return consistent([*facts, stated() if found else DENIED if normal else PASSED_OVER], self.names)

    def own(self, rng: random.Random) -> Composed:
        """A report as it was written, less what facts cannot tell and what it says again."""
        report = rng.choice(self.reports)
        first = self.sections[0]
        kept, mentioned = list[Statement](), set[str]()
        for statement in report[first]:
            if statement.mentions and not mentioned & statement.mentions.keys():
                kept.append(statement)
                mentioned |= statement.mentions.keys()
        present = {name: s.location for s in kept for name in s.present}
        if not _go_together(kept, present.keys()):
            return self.compose(self.anything(rng), rng)
        normal = not present and any(not s.mentions for part in report.values() for s in part)
        facts = self._facts_told(kept, present, normal=normal, rng=rng)
        labels, places = self._wanted(facts)
        parts = {first: kept}
        for name in self.sections[1:]:
            parts[name] = self._conclusion(name, report[name], facts, labels, places, rng)
        return Composed(_written(parts), facts)

    def _facts_told(
        self, kept: Sequence[Statement], present: Mapping[str, Location], *, normal: bool, rng: random.Random
    ) -> tuple[Fact, ...]:
        """The facts that statements say; of several findings that are one to the labeller, any that the words suit."""
        denied = {name for s in kept for name in s.absent}
        facts = [PASSED_OVER] * len(self.names)
        for group in dict.fromkeys(self.groups):
            members = [i for i, own in enumerate(self.groups) if own == group]
            if group in denied:
                for i in members:
                    facts[i] = DENIED
            elif group in present:
                suited = self._suited(group, members, next(s for s in kept if group in s.present))
                count = 1 if rng.random() < 0.7 else rng.randint(1, len(suited))
                for i in rng.sample(suited, min(count, len(suited))):
                    facts[i] = stated(*present[group])
        return self._with_whole(facts, normal=normal)

    def _suited(self, group: str, members: Sequence[int], statement: Statement) -> list[int]:
        """Those of the findings that are one to the labeller which a statement of that one is about."""
        suited = [
            i
            for i in members
            if supported(
                Statement(statement.text, {group: statement.mentions[group]}),
                ImageLabels({group: True}, frozenset({self.names[i]}), normal=False),
            )
        ]
        return suited or list(members)

    def compose(self, facts: Facts, rng: random.Random) -> Composed:
        """A report that says these facts, and those of them that it says."""
        labels, places = self._wanted(facts)
        first, *others = self.sections
        said = self._say(self.banks[first], self._content(labels, denials=True), labels, places, rng)
        mentioned = {name for s in said for name in s.mentions}
        kept = [fact if group in mentioned else PASSED_OVER for fact, group in zip(facts, self.groups, strict=False)]
        realised = self._with_whole(kept, normal=facts[-1].denied)
        if facts[-1].stated:
            realised = (*realised[:-1], stated())
        labels, places = self._wanted(realised)
        parts = {first: said}
        for name in others:
            parts[name] = self._conclusion(name, [], realised, labels, places, rng)
        return Composed(_written(parts), realised)

    def _conclusion(
        self,
        section: str,
        given: Sequence[Statement],
        facts: Facts,
        labels: ImageLabels,
        places: Mapping[str, Location],
        rng: random.Random,
    ) -> list[Statement]:
        """A section that says what is there, in the words `given` as far as they suit, or that nothing is."""
        bank = self.banks[section]
        if facts[-1].denied:
            given = [s for s in given if not s.mentions] or [s for s in [bank.normality(rng)] if s]
            return list(given[:1])
        kept, mentioned = list[Statement](), set[str]()
        for statement in given:
            names = statement.mentions.keys()
            if (
                statement.present
                and not statement.absent
                and not mentioned & names
                and supported(statement, labels)
                and lies_within(statement, places)
            ):
                kept.append(statement)
                mentioned |= names
        wanted = frozenset(pair for pair in self._content(labels, denials=False) if pair[0] not in mentioned)
        return [*kept, *self._say(bank, wanted, labels, places, rng)]

    def _say(
        self, bank: Bank, wanted: Content, labels: ImageLabels, places: Mapping[str, Location], rng: random.Random
    ) -> list[Statement]:
        said = list[Statement]()
        while wanted and (statement := bank.choose(wanted, labels, places, rng)):
            said.append(statement)
            wanted = frozenset(pair for pair in wanted if pair[0] not in statement.mentions)
        return sorted(said, key=lambda s: bank.place(s) + rng.uniform(-0.08, 0.08))

    def _wanted(self, facts: Facts) -> tuple[ImageLabels, dict[str, Location]]:
        """The facts as labels of an image would have them, and the places of what is there."""
        findings: dict[str, bool] = {}
        places: dict[str, Location] = {}
        for fact, group in zip(facts, self.groups, strict=False):
            if fact.stated:
                findings[group] = True
                places.setdefault(group, Location(*fact.place))
            elif fact.denied:
                findings.setdefault(group, False)
        there = frozenset(name for name, fact in zip(self.names, facts, strict=False) if fact.stated)
        return ImageLabels(findings, there, facts[-1].denied), places

    def _content(self, labels: ImageLabels, *, denials: bool) -> Content:
        return frozenset((name, there) for name, there in labels.findings.items() if there or denials)


def _go_together(statements: Sequence[Statement], present: object) -> bool:
    """Whether statements can stand beside each other, whoever wrote them."""
    labels = ImageLabels(
        {name: name in s.present for s in statements for name in s.mentions}, frozenset(), normal=False
    )
    return all(s.present or supported(s, labels) for s in statements)


def _statements(text: str) -> list[tuple[Statement, Statement]]:
    """What a section states, sentence by sentence: with its location as far as it can be told, and without."""
    found = []
    for sentence in sentences(text):
        plain = statement_of(sentence)
        if plain is not None:
            found.append((located_statement_of(sentence) or plain, plain))
    return found


def _written(parts: Mapping[str, Sequence[Statement]]) -> dict[str, str]:
    return {name: " ".join(s.text for s in said) for name, said in parts.items()}
