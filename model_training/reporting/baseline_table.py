"""The command `baselines`: what any model has to beat, beside what was published."""

from __future__ import annotations

import argparse
from functools import partial

from model_training.data.arguments import add_data_arguments, open_collection
from model_training.evaluation.baselines import CONSTANT, baseline_reports, rows, score_baselines
from model_training.metrics import registry
from model_training.metrics import text as text_metrics
from model_training.reporting.tables import Rows, number, table

# Official test split under the R2Gen protocol, as published.
PUBLISHED_SCORES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "R2Gen 2020": (0.470, 0.304, 0.219, 0.165, 0.187, 0.371, None),
    "R2GenCMN 2021": (0.475, 0.309, 0.222, 0.170, 0.191, 0.375, None),
    "CMM+RL 2022": (0.494, 0.321, 0.235, 0.181, 0.201, 0.384, None),
    "METransformer 2023": (0.483, 0.322, 0.228, 0.172, 0.192, 0.380, 0.435),
    "VLCI / CMCRL 2024": (0.505, 0.334, 0.245, 0.190, 0.210, 0.394, 0.592),
    "STREAM 2025": (0.506, 0.338, 0.248, 0.188, 0.215, 0.387, None),
    "SMAN 2026": (0.518, 0.355, 0.262, 0.200, 0.214, 0.422, 0.471),
}


def markdown(scored: Rows) -> str:
    """A table with one row a system; what was not measured or is undefined stays empty."""
    return table(scored, [metric.name for metric in registry.METRICS], cell=partial(number, missing=""))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training baselines`."""
    add_data_arguments(parser, split="test", purpose="score on")


def run(args: argparse.Namespace) -> int:
    """Print the baselines under the R2Gen protocol, beside published systems, and without `<unk>` and cut."""
    collection = open_collection(args)
    train, test = ([s for s in collection.studies_of(name) if s.findings] for name in ("train", args.split))
    if not train or not test:
        raise ValueError(f"{args.data} lacks findings in its train or {args.split} split")
    print(collection.origin("train", args.split))
    systems = baseline_reports(train, test)
    protocol, plain = (rows(score_baselines(train, test, systems, protocol=p)) for p in (True, False))
    sacre = text_metrics.sacre_bleu([study.findings for study in test], systems[CONSTANT])
    published = {name: dict(zip(PUBLISHED_SCORES, row, strict=True)) for name, row in PUBLISHED.items()}
    print(f"{args.split}: {len(test)} studies, {len(train)} training reports. Labels against MeSH codes.\n")
    print(f"R2Gen protocol (pycocoevalcap; 60 ids, <unk>), then as published:\n{markdown({**protocol, **published})}\n")
    print(f"Without <unk> and cut (pycocoevalcap on cleaned text):\n{markdown(plain)}\n")
    print(f"The constant in sacreBLEU, cased original text: {number(sacre)}")
    print(f"The constant: {systems[CONSTANT][0]}\n")
    findings, references = ([study.findings for study in part] for part in (train, test))
    for name, texts in {"references": references, **systems}.items():
        shares = ((m.name, m.score(references, texts, findings)) for m in registry.CORPUS_METRICS if m.memorisation)
        print(f"{name}: " + ", ".join(f"{key} {share:.1%}" for key, share in shares))
    return 0
