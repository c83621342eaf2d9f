"""Reports written without looking at an image: what a model has to beat before its scores mean anything."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from model_training.data import Study
from model_training.data.labels import mentions_of
from model_training.metrics import r2gen
from model_training.metrics import text as text_metrics
from model_training.metrics.agreement import Labels
from model_training.metrics.registry import StudyScores, Texts, score_systems
from model_training.progress import Progress

CONSTANT, FREQUENT, RANDOM, TAGS = (
    "best constant",
    "most frequent training report",
    "random training report",
    "gold MeSH tags, nearest training report",
)
SEEDS = range(5)


def best_constant(reports: Sequence[str]) -> int:
    """Index of the report that scores the highest BLEU-4 when given for every one of them; the first of equals."""
    bleu = text_metrics.bleu_of(text_metrics.constant_bleu_statistics(reports, reports))
    return int(bleu[:, 3].argmax())


def most_frequent(reports: Sequence[str]) -> int:
    """Index of the first occurrence of the commonest report; the earliest of equally common ones."""
    return reports.index(Counter(reports).most_common(1)[0][0])


def nearest_by_tags(
    tags: Sequence[frozenset[str]], known: Sequence[frozenset[str]], reports: Sequence[str]
) -> list[int]:
    """For each tag set the index of the report whose own tags (`known`) overlap it most (Jaccard).

    Of equally near reports it takes the one that stands best for the others (`best_constant` among them), so that the
    choice depends neither on order nor on luck.
    """
    holders: defaultdict[frozenset[str], list[int]] = defaultdict(list)
    for i, own in enumerate(known):
        holders[own].append(i)
    chosen: dict[frozenset[str], int] = {}
    with Progress("nearest by tags", len(set(tags)), "tag set") as progress:
        for wanted in set(tags):
            overlap = {own: len(wanted & own) / max(1, len(wanted | own)) for own in holders}
            nearest = max(overlap.values())
            ties = sorted(i for own, value in overlap.items() if value == nearest for i in holders[own])
            chosen[wanted] = ties[best_constant([reports[i] for i in ties])]
            progress.advance()
    return [chosen[wanted] for wanted in tags]


def baseline_reports(train: Sequence[Study], test: Sequence[Study]) -> dict[str, list[str]]:
    """Baseline name to one training report, as its author wrote it, for every test study.

    The random baseline comes once a seed (`random training report, seed 0` …). All choices are made on training
    studies, except that the gold tags are those of the test study: an oracle, no system.
    """
    vocabulary = r2gen.Vocabulary(study.findings for study in train)
    texts = [study.findings for study in train]
    reports = [vocabulary.reference(text) for text in texts]
    choices = {
        CONSTANT: [best_constant(reports)] * len(test),
        FREQUENT: [most_frequent(reports)] * len(test),
        TAGS: nearest_by_tags([_tags(study) for study in test], [_tags(study) for study in train], reports),
    }
    for seed in SEEDS:
        rng = random.Random(seed)
        choices[f"{RANDOM}, seed {seed}"] = [rng.choice(range(len(train))) for _ in test]
    return {name: [texts[i] for i in indices] for name, indices in choices.items()}


def score_baselines(
    train: Sequence[Study], test: Sequence[Study], systems: Mapping[str, Sequence[str]], *, protocol: bool = True
) -> dict[str, StudyScores]:
    """Scores of each system's original texts against the findings of the test studies.

    `protocol`: both as the R2Gen protocol sees them, with `<unk>` and cut at 60 ids; else both cleaned only. Labels are
    scored against the human codes where a study has them.
    """
    references, texts = as_scored(train, test, systems, protocol=protocol)
    labels = gold_labels(test)
    scores = score_systems([Texts.of(references, given, labels) for given in texts.values()])
    return dict(zip(texts, scores, strict=True))


def as_scored(
    train: Sequence[Study], test: Sequence[Study], systems: Mapping[str, Sequence[str]], *, protocol: bool
) -> tuple[list[str], dict[str, list[str]]]:
    """References and texts of each system as `score_baselines` has them scored."""
    view = r2gen.Vocabulary(study.findings for study in train).reference if protocol else r2gen.clean
    return [view(study.findings) for study in test], {name: [view(t) for t in texts] for name, texts in systems.items()}


def gold_labels(studies: Sequence[Study]) -> list[Labels]:
    """What the human codes name, for a study without codes what its findings do."""
    return [mentions_of(study, study.findings) for study in studies]


def rows(scores: Mapping[str, StudyScores]) -> dict[str, dict[str, float]]:
    """Row name to score by name, with the seeds of the random baseline averaged."""
    totals = {name: {key: float(value) for key, value in s.totals().items()} for name, s in scores.items()}
    return mean_of_seeds(totals)


def mean_of_seeds(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The rows with those of the random baseline's seeds replaced by their mean, at the end."""
    kept = {name: dict(row) for name, row in rows.items()}
    seeds = [kept.pop(name) for name in rows if name.startswith(f"{RANDOM}, seed")]
    if seeds:
        kept[f"{RANDOM}, mean of {len(seeds)} seeds"] = {
            key: sum(row[key] for row in seeds) / len(seeds) for key in seeds[0]
        }
    return kept


def _tags(study: Study) -> frozenset[str]:
    return frozenset(code.lower() for code in study.mesh)
