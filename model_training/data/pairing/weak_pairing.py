"""Weak pairing: reports for images that have labels but no report.

Every draw takes a report of other patients whose findings are those of the image, keeps of it what the image's labels
support, and says what is then still missing in sentences of further reports. What comes of it teaches wording and
findings; it cannot teach where a finding lies, how large it is, or anything the labels do not name.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from app.text.findings import IMAGE_LABELS
from model_training.data.labels import ImageLabels, affirmed_findings
from model_training.data.pairing.statements import Statement, statement_of, supported
from model_training.data.study import Study
from model_training.data.text.text_policy import sentences

Report = Mapping[str, list[Statement]]

ENOUGH = 5  # reports with just the findings sought; fewer would be learnt by heart
REPEATED = 2  # how many reports must share a rewritten sentence: slips of the rewriting are all different


class WeakPairing:
    """Draws reports from those of `studies`, whose texts the text policy has cleaned."""

    def __init__(self, studies: Sequence[Study], sections: Sequence[str]) -> None:
        """Raises ValueError when no study has a text to draw from."""
        said = [{name: _statements(study.sections[name]) for name in sections} for study in studies]
        counts = Counter(s.text for report in said for part in report.values() for s in part)
        self._by_findings: defaultdict[frozenset[str], list[Report]] = defaultdict(list)
        self._alone: defaultdict[str, dict[str, Statement]] = defaultdict(dict)
        self._normality: dict[str, Statement] = {}
        known = frozenset(IMAGE_LABELS.values())
        self.reports: list[Report] = []
        for study, report in zip(studies, said, strict=True):
            kept = {
                name: [s for s in part if not s.present or counts[s.text] >= REPEATED] for name, part in report.items()
            }
            self.reports.append(kept)
            self._by_findings[affirmed_findings(study) & known].append(kept)
            for statement in (s for part in kept.values() for s in part):
                if not statement.mentions:
                    self._normality[statement.text] = statement
                elif statement.present == set(statement.mentions) and len(statement.present) == 1:
                    self._alone[next(iter(statement.present))][statement.text] = statement
        if not any(any(report.values()) for report in self.reports):
            raise ValueError("no report to pair images with says anything that labels of images could support")
        self._counts = counts
        self.sections = tuple(sections)

    def texts(self) -> Iterator[dict[str, str]]:
        """What each report can contribute, section by section: the words that draws are made of."""
        for report in self.reports:
            yield {name: " ".join(s.text for s in part) for name, part in report.items()}

    def draw(self, study: Study, *key: int) -> dict[str, str]:
        """A report for a labelled study, by section: the same for the same key, whoever else is drawn for."""
        labels, rng = ImageLabels.of(study), random.Random(f"{key} {study.id}")
        donor = rng.choice(self._donors(labels))
        return {name: " ".join(self._section(donor[name], labels, rng)) for name in self.sections}

    def _donors(self, labels: ImageLabels) -> list[Report]:
        """Reports with the findings of the image, as far as its labels go; where those are few, with some of them."""
        exact: list[Report] = []
        partial: list[Report] = []
        for findings, reports in self._by_findings.items():
            seen = findings & labels.findings.keys()
            if seen == labels.present:
                exact += reports
            elif seen < labels.present:
                partial += reports
        return exact if len(exact) >= ENOUGH else exact + partial

    def _section(self, given: Sequence[Statement], labels: ImageLabels, rng: random.Random) -> list[str]:
        """What the labels support of a donor's section, behind sentences for the findings it does not name."""
        kept = [statement for statement in given if supported(statement, labels)]
        missing = sorted(labels.present.difference(*(statement.present for statement in kept)))
        rng.shuffle(missing)
        added = [self._one(self._alone[name], labels, rng) for name in missing]
        if not (kept or added) and labels.normal:
            added = [self._one(self._normality, labels, rng)]
        return list(dict.fromkeys([*(text for text in added if text), *(statement.text for statement in kept)]))

    def _one(self, choices: Mapping[str, Statement], labels: ImageLabels, rng: random.Random) -> str:
        """One of the statements that the labels support, common ones more often; empty where there is none."""
        suited = [text for text, statement in choices.items() if supported(statement, labels)]
        return rng.choices(suited, [self._counts[text] ** 0.5 for text in suited])[0] if suited else ""


def _statements(text: str) -> list[Statement]:
    return [statement for sentence in sentences(text) if (statement := statement_of(sentence))]
