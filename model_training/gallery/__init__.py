"""The gallery: one HTML page of studies with what the model wrote of them, what it should have, and where it looked."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from app.inference.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from app.inference.generator import Generator
from model_training.data import LAYOUTS, SPLITS, Study, read_collection
from model_training.gallery.attention import NoAttentionError, Recorder, eager_model
from model_training.gallery.cards import Card, make_card
from model_training.gallery.page import render
from model_training.generation import IN_FLIGHT, Written, add_decoding_arguments, decoding_options, generate
from model_training.metrics import MissingExtraError
from model_training.model.report_model import ReportModel


def make_cards(checkpoint: Checkpoint, written: Sequence[Written]) -> tuple[list[Card], str]:
    """A card for each study, the worst first (label F1, then BLEU-4), and why there is no attention, if none."""
    model: ReportModel | None = None
    lacking = ""
    try:
        model = eager_model(checkpoint)
        Recorder(model.decoder)
    except NoAttentionError as error:
        model, lacking = None, str(error)
    thresholds = [float(finding["threshold"]) for finding in checkpoint.manifest["findings"]]
    cards = [make_card(one, checkpoint.tokenizer, thresholds, model) for one in tqdm(written, desc="cards")]
    return sorted(cards, key=lambda card: (card.label_f1, card.bleu, card.id)), lacking


def sample(studies: Sequence[Study], count: int, seed: int = 0) -> list[Study]:
    """So many studies drawn at random, in their order; all of them when there are fewer."""
    drawn = random.Random(seed).sample(range(len(studies)), min(count, len(studies)))
    return [studies[i] for i in sorted(drawn)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training gallery`."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of a collection, any layout")
    parser.add_argument("--layout", choices=LAYOUTS, help="the collection's layout, where it cannot be told")
    parser.add_argument("--split", default="test", choices=(*SPLITS, "none"), help="studies to show (default: test)")
    parser.add_argument("--studies", type=int, default=48, help="how many, drawn at random (default: 48)")
    parser.add_argument("--out", type=Path, required=True, help="the HTML file to write")
    add_decoding_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the page."""
    try:
        collection = read_collection(args.data, args.layout)
        split = collection.split(None if args.split == "none" else args.split, with_images=True)
        described = [study for study in split if study.findings or study.impression]
        checkpoint = load_checkpoint(args.checkpoint)
        generator = Generator(checkpoint, max_queue=2 * IN_FLIGHT)
    except (OSError, ValueError, CheckpointError) as error:
        print(f"error: {error}")
        return 2
    try:
        options = decoding_options(args, generator)
        written = generate(generator, sample(described, args.studies), options).written
        cards, lacking = make_cards(checkpoint, written)
    except (ValueError, MissingExtraError) as error:
        print(f"error: {error}")
        return 2
    finally:
        generator.close()
    if not cards:
        print(f"error: {args.data} has no {args.split} studies with images and a report")
        return 2
    title = f"{generator.name} {generator.version}"
    subtitle = f"{len(cards)} of {len(described)} {args.split} studies of {collection.name}"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(render(cards, title, subtitle, lacking), encoding="utf-8")
    print(f"{args.out}: {len(cards)} studies, {args.out.stat().st_size / 1e6:.1f} MB")
    return 0
