"""Reports written without looking at an image: what a model has to beat before its scores mean anything."""

from __future__ import annotations

import argparse
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from model_training.data import Study, read_collection
from model_training.data.labels import mentions_of
from model_training.metrics import r2gen
from model_training.metrics import text as text_metrics
from model_training.metrics.agreement import Labels
from model_training.metrics.text import MissingExtraError, StudyScores

CONSTANT, FREQUENT, RANDOM, TAGS = (
    "best constant",
    "most frequent training report",
    "random training report",
    "gold MeSH tags, nearest training report",
)
SEEDS = range(5)
COLUMNS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "micro-F1", "macro-F1")
# Official test split under the R2Gen protocol, as published, in the order of COLUMNS.
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "R2Gen 2020": (0.470, 0.304, 0.219, 0.165, 0.187, 0.371, None),
    "R2GenCMN 2021": (0.475, 0.309, 0.222, 0.170, 0.191, 0.375, None),
    "CMM+RL 2022": (0.494, 0.321, 0.235, 0.181, 0.201, 0.384, None),
    "METransformer 2023": (0.483, 0.322, 0.228, 0.172, 0.192, 0.380, 0.435),
    "VLCI / CMCRL 2024": (0.505, 0.334, 0.245, 0.190, 0.210, 0.394, 0.592),
    "STREAM 2025": (0.506, 0.338, 0.248, 0.188, 0.215, 0.387, None),
    "SMAN 2026": (0.518, 0.355, 0.262, 0.200, 0.214, 0.422, 0.471),
}


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
    for wanted in set(tags):
        overlap = {own: len(wanted & own) / max(1, len(wanted | own)) for own in holders}
        nearest = max(overlap.values())
        ties = sorted(i for own, value in overlap.items() if value == nearest for i in holders[own])
        chosen[wanted] = ties[best_constant([reports[i] for i in ties])]
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
    return text_metrics.score_systems(references, texts, gold_labels(test))


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


def table(scored: Mapping[str, Mapping[str, float | None]]) -> str:
    """Markdown table with one row a system; what was not measured or is undefined stays empty."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(_cell(row.get(key)) for key in COLUMNS) + " |" for name, row in scored.items()
    ]
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training baselines`."""
    parser.add_argument("--data", type=Path, required=True, help="folder of the collection")
    parser.add_argument("--layout", default="r2gen_json", help="its layout (default: the official split of R2Gen)")
    parser.add_argument("--split", default="test", help="the split to score on (default: test)")


def run(args: argparse.Namespace) -> int:
    """Print the baselines under the R2Gen protocol, beside published systems, and without `<unk>` and cut."""
    collection = read_collection(args.data, args.layout)
    train, test = ([s for s in collection.split(name) if s.findings] for name in ("train", args.split))
    if not train or not test:
        print(f"error: {args.data} lacks findings in its train or {args.split} split")
        return 2
    try:
        systems = baseline_reports(train, test)
        protocol, plain = (rows(score_baselines(train, test, systems, protocol=p)) for p in (True, False))
        sacre = text_metrics.sacre_bleu([study.findings for study in test], systems[CONSTANT])
    except MissingExtraError as error:
        print(f"error: {error}")
        return 2
    published = {name: dict(zip(COLUMNS, row, strict=False)) for name, row in PUBLISHED.items()}
    print(f"{args.split}: {len(test)} studies, {len(train)} training reports. Labels against MeSH codes.\n")
    print(f"R2Gen protocol (pycocoevalcap; 60 ids, <unk>), then as published:\n{table({**protocol, **published})}\n")
    print(f"Without <unk> and cut (pycocoevalcap on cleaned text):\n{table(plain)}\n")
    print(f"The constant in sacreBLEU, cased original text: {_cell(sacre)}")
    print(f"The constant: {systems[CONSTANT][0]}\n")
    findings = [study.findings for study in train]
    for name, texts in {"references": [study.findings for study in test], **systems}.items():
        shares = text_metrics.recital(texts, findings)
        print(f"{name}: " + ", ".join(f"{key} {share:.1%}" for key, share in shares.items()))
    return 0


def _tags(study: Study) -> frozenset[str]:
    return frozenset(code.lower() for code in study.mesh)


def _cell(value: float | None) -> str:
    """Three decimals without the leading zero, as the literature prints them."""
    return "" if value is None or value != value else f"{value:.3f}".removeprefix("0")
