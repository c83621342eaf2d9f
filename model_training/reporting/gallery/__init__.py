"""The gallery: one HTML page of studies with what the model wrote of them, what it should have, and where it looked."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from app.inference.checkpoint import Checkpoint, load_checkpoint
from app.inference.generator import Generator
from model_training.data import Study
from model_training.data.arguments import add_data_arguments, open_collection
from model_training.evaluation.generation import (
    IN_FLIGHT,
    GeneratedReport,
    add_decoding_arguments,
    decoding_options,
    generate,
)
from model_training.reporting import summary
from model_training.reporting.gallery.cards import Card, make_card
from model_training.reporting.gallery.page import render


def make_cards(checkpoint: Checkpoint, reports: Sequence[GeneratedReport]) -> list[Card]:
    """A card for each study, the worst first (label F1, then BLEU-4). The reports have heatmaps."""
    names = checkpoint.tokenizer.section_names
    cards = [make_card(one, names) for one in tqdm(reports, desc="cards")]
    return sorted(cards, key=lambda card: (card.label_f1, card.bleu, card.id))


def sample(studies: Sequence[Study], count: int, seed: int = 0) -> list[Study]:
    """So many studies drawn at random, in their order; all of them when there are fewer."""
    drawn = random.Random(seed).sample(range(len(studies)), min(count, len(studies)))
    return [studies[i] for i in sorted(drawn)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training gallery`."""
    parser.add_argument("checkpoint", type=Path)
    add_data_arguments(parser, split="test", purpose="show", everything=True)
    parser.add_argument("--studies", type=int, default=48, help="how many, drawn at random (default: 48)")
    parser.add_argument("--out", type=Path, required=True, help="the HTML file to write")
    add_decoding_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the page."""
    collection = open_collection(args)
    studies = collection.studies_of(args.split, with_images=True)
    described = [study for study in studies if study.findings or study.impression]
    checkpoint = load_checkpoint(args.checkpoint)
    generator = Generator(checkpoint, max_queue=2 * IN_FLIGHT, ood="warn")
    try:
        options = decoding_options(args, generator)
        generated = generate(generator, sample(described, args.studies), options, heatmaps=True)
        cards = make_cards(checkpoint, generated.reports)
    finally:
        generator.close()
    if not cards:
        left_out = f": {summary.left_out(generated.left_out)}" if generated.left_out else ""
        raise ValueError(f"{args.data} has no studies with images and a report in the split {args.split}{left_out}")
    title = f"{generator.model.name} {generator.model.version}"
    subtitle = f"{len(cards)} of {len(described)} studies of {collection.name}, split {args.split}"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(render(cards, title, subtitle), encoding="utf-8")
    print(collection.origin(args.split))
    if generated.left_out:
        print(f"left out: {summary.left_out(generated.left_out)}")
    print(f"{args.out}: {len(cards)} studies, {args.out.stat().st_size / 1e6:.1f} MB")
    return 0
