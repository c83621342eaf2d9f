"""The bank: the statements that real reports make in one section, by what they say, to be drawn from."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property

from model_training.data.labels import ImageLabels
from model_training.data.pairing.locations import NOWHERE, Location
from model_training.data.pairing.statements import Statement, supported

Content = frozenset[tuple[str, bool]]  # findings by the labeller's names, and whether they are there


class Bank:
    """The statements that reports make in one section."""

    def __init__(self) -> None:
        self.statements: dict[str, Statement] = {}
        self.counts: dict[str, float] = {}
        self._places: defaultdict[Content, list[float]] = defaultdict(list)

    def add(self, statement: Statement, count: float) -> None:
        """Takes in a statement that so many reports make."""
        self.statements[statement.text] = statement
        self.counts[statement.text] = max(count, self.counts.get(statement.text, 0.0))

    def stands(self, statement: Statement, place: float) -> None:
        """Notes that a report makes such a statement at a place of the section, from 0 to 1."""
        self._places[content_of(statement)].append(place)

    @cached_property
    def by_content(self) -> Mapping[Content, list[Statement]]:
        """What is said of the same."""
        found: defaultdict[Content, list[Statement]] = defaultdict(list)
        for statement in self.statements.values():
            found[content_of(statement)].append(statement)
        return found

    def place(self, statement: Statement) -> float:
        """Where in a section such a statement stands on the mean."""
        places = self._places[content_of(statement)]
        return sum(places) / len(places) if places else 0.5

    @cached_property
    def weights(self) -> Mapping[Content, float]:
        """How often each content is chosen: common ones more often, and those that say more at once."""
        return {
            content: sum(self.counts[s.text] ** 0.5 for s in found) * max(1, len(content)) ** 1.5
            for content, found in self.by_content.items()
        }

    def choose(
        self, wanted: Content, labels: ImageLabels, places: Mapping[str, Location], rng: random.Random
    ) -> Statement | None:
        """One that says something of what is wanted and nothing else, and where a place is told, as much of it as any
        does. None where there is none."""
        contents = {content: weight for content, weight in self.weights.items() if content and content <= wanted}
        while contents:
            content = rng.choices(list(contents), list(contents.values()))[0]
            found = [s for s in self.by_content[content] if supported(s, labels) and lies_within(s, places)]
            if found:
                most = max(_told(s.location) for s in found)
                return self._draw([s for s in found if _told(s.location) == most], rng)
            del contents[content]
        return None

    def _draw(self, found: Sequence[Statement], rng: random.Random) -> Statement:
        return rng.choices(found, [self.counts[s.text] ** 0.5 for s in found])[0]

    def normality(self, rng: random.Random) -> Statement | None:
        """One that nothing was found."""
        found = self.by_content.get(frozenset(), [])
        return self._draw(found, rng) if found else None


def content_of(statement: Statement) -> Content:
    """What it mentions."""
    return frozenset((name, mention.status == "present") for name, mention in statement.mentions.items())


def lies_within(statement: Statement, places: Mapping[str, Location]) -> bool:
    """Whether it names no side or zone other than the one told."""
    if statement.location == NOWHERE:
        return True
    (name,) = statement.present
    told = places.get(name, NOWHERE)
    return all(said in (None, known) for said, known in zip(statement.location, told, strict=True))


def _told(location: Location) -> int:
    """How much it says; a side says more than a zone."""
    return 2 * (location.side is not None) + (location.zone is not None)
