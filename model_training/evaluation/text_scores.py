"""The tables of an evaluation: what the model wrote beside its controls and the baselines, on the same studies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.text.findings import POSITIVE
from app.text.labeller import label_report
from model_training.data.study import Study
from model_training.evaluation.baselines import CONSTANT, as_scored, baseline_reports, gold_labels, mean_of_seeds
from model_training.evaluation.generation import GeneratedReport
from model_training.metrics import registry
from model_training.metrics.agreement import FloatArray
from model_training.metrics.bootstrap import Estimate, bootstrap, paired_bootstrap
from model_training.metrics.registry import StudyScores, Texts, score_systems

MODEL, SHUFFLED, BLANK = "model", "shuffled images", "blank image"
NAMING = "names a finding"
Row = dict[str, float]


@dataclass(frozen=True, slots=True)
class TextView:
    """One way to look at a report: its sections, joined, with or without `<unk>` and cut."""

    sections: tuple[str, ...]
    protocol: bool

    @property
    def title(self) -> str:
        """As the tables are headed."""
        names = " and ".join(self.sections).capitalize()
        return f"{names}, " + ("R2Gen protocol" if self.protocol else "without <unk> and cut")

    def of(self, study: Study) -> Study | None:
        """The study with these sections where its findings stand, which is what the scorers read; None lacking one."""
        given = study.sections
        if not all(given.get(name) for name in self.sections):
            return None
        return replace(study, findings=" ".join(given[name] for name in self.sections))

    def fits(self, studies: Iterable[Study]) -> bool:
        """Whether any of them has these sections."""
        return any(self.of(study) is not None for study in studies)


def text_views(sections: Sequence[str]) -> Iterator[TextView]:
    """The ways to score a model that writes these sections, the one published numbers use first."""
    if "findings" in sections:
        yield TextView(("findings",), protocol=True)
        yield TextView(("findings",), protocol=False)
    if tuple(sections) != ("findings",):
        yield TextView(tuple(sections), protocol=False)


@dataclass(frozen=True, slots=True)
class TextTable:
    """Scores by name, of systems by name, on so many studies."""

    studies: int
    rows: dict[str, Row]


@dataclass(frozen=True, slots=True)
class TextScores:
    """Systems under one view of the text: their scores study by study, and their original texts."""

    view: TextView
    studies: list[Study]  # as the view has them
    training: list[str]
    scores: Mapping[str, StudyScores]
    texts: Mapping[str, Sequence[str]]

    def table(self) -> TextTable:
        """All scores, of cleaned and of original texts."""
        references = [study.findings for study in self.studies]
        rows = {}
        for name, scores in self.scores.items():
            row = {key: float(value) for key, value in scores.totals().items()}
            whole = {m.name: m.score(references, self.texts[name], self.training) for m in registry.CORPUS_METRICS}
            rows[name] = row | whole
        return TextTable(len(self.studies), mean_of_seeds(rows))

    def groups(self) -> dict[str, TextTable]:
        """Scores of normal and abnormal studies apart, with the share of reports that name any finding.

        CIDEr keeps the n-gram weights of all studies.
        """
        normal = np.array([is_normal(study) for study in self.studies])
        tables: dict[str, TextTable] = {}
        for name, members in (("normal", normal), ("abnormal", ~normal)):
            if members.any():
                weights = members.astype(np.float64)
                rows = {system: _group_row(scores, weights) for system, scores in self.scores.items()}
                tables[name] = TextTable(int(members.sum()), mean_of_seeds(rows))
        return tables

    def intervals(self) -> dict[str, Estimate]:
        """The model's scores with their 95% intervals."""
        return bootstrap(self.scores[MODEL])

    def differences(self) -> dict[str, dict[str, Estimate]]:
        """The model and its controls minus the best constant, with paired 95% intervals."""
        shown = [name for name in (MODEL, SHUFFLED, BLANK) if name in self.scores]
        return {name: paired_bootstrap(self.scores[name], self.scores[CONSTANT]) for name in shown}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Systems under one view of the text, ready to be scored: `references` and `cleaned` are what scorers read."""

    view: TextView
    studies: list[Study]
    training: list[str]
    texts: dict[str, list[str]]
    references: list[str]
    cleaned: dict[str, list[str]]


def prepare(
    view: TextView,
    train: Sequence[Study],
    systems: Mapping[str, Sequence[GeneratedReport]],
    *,
    only_constant: bool = False,
) -> Prepared | None:
    """Systems that wrote on the same studies, beside them the baselines on training studies (or the best constant).

    Studies that lack one of the sections take no part. None where no study, or no training study, is left.
    """
    known = [study for study in map(view.of, train) if study is not None]
    first = next(iter(systems.values()))
    studies = [view.of(one.study) for one in first]
    kept = [i for i, study in enumerate(studies) if study is not None]
    wanted = [study for study in studies if study is not None]
    if not known or not wanted:
        return None
    texts = {name: [reports[i].text(view.sections) for i in kept] for name, reports in systems.items()}
    others = baseline_reports(known, wanted)
    every = {**texts, **({CONSTANT: others[CONSTANT]} if only_constant else others)}
    references, cleaned = as_scored(known, wanted, every, protocol=view.protocol)
    return Prepared(view, wanted, [study.findings for study in known], every, references, cleaned)


def score(prepared: Sequence[Prepared]) -> list[TextScores]:
    """Scores them all, together: what starts once, as Java for METEOR, starts once."""
    if not prepared:
        return []
    gold = [gold_labels(one.studies) for one in prepared]
    scores = iter(
        score_systems(
            [
                Texts.of(one.references, texts, labels)
                for one, labels in zip(prepared, gold, strict=True)
                for texts in one.cleaned.values()
            ]
        )
    )
    return [
        TextScores(one.view, one.studies, one.training, {name: next(scores) for name in one.cleaned}, one.texts)
        for one in prepared
    ]


def is_normal(study: Study) -> bool:
    """Whether the study's codes are `normal` alone; without codes, whether its report names no finding."""
    codes = {code.lower() for code in study.mesh} - {"no indexing"}
    if codes:
        return codes == {"normal"}
    mentions = label_report(f"{study.findings} {study.impression}").values()
    return not any(mention.status in POSITIVE for mention in mentions)


def _group_row(scores: StudyScores, weights: FloatArray) -> Row:
    named = scores.statistics[registry.findings][:, :, :2].any(axis=(1, 2))  # true or false positives
    row = {key: float(value) for key, value in scores.totals(weights).items()}
    return row | {NAMING: float(weights @ named / weights.sum())}
