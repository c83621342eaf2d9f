"""Evaluation of a checkpoint: reports by the very engine that serves, scored beside controls and baselines.

Writes `evaluation.json` ("details" is for people and comparisons, the rest is what `export` puts into the manifest),
`evaluation.md`, `predictions.csv` and `risk-coverage.png`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.inference.checkpoint import Checkpoint, load_checkpoint
from app.inference.generator import Generator
from app.inference.options import DecodingOptions
from model_training.data import Study, read_collection
from model_training.data.arguments import add_data_arguments, open_collection
from model_training.evaluation import generation, selective_prediction, text_scores
from model_training.evaluation.consistency import score_consistency
from model_training.evaluation.finding_scores import Calibration, HeadOutput, score_head, view_accuracy
from model_training.evaluation.generation import (
    IN_FLIGHT,
    GeneratedReport,
    blank_control,
    frontal_control,
    shuffled_control,
)
from model_training.evaluation.ood_scores import OodScores, named_images, score_ood
from model_training.evaluation.place_scores import score_places
from model_training.evaluation.pointing import score_pointing, score_stated
from model_training.evaluation.results import Evaluation, Prediction, TextResult
from model_training.evaluation.source_scores import score_sources
from model_training.evaluation.text_scores import BLANK, MODEL, SHUFFLED, TextScores, prepare, text_views
from model_training.metrics import registry
from model_training.metrics.agreement import FloatArray
from model_training.reporting import files, summary


@dataclass(frozen=True, slots=True)
class Task:
    """What is evaluated on what: `train` feeds the baselines, `val` shows how the calibration fits its own studies;
    `films` and `others` are images by name that must be accepted and that must not, beside the studies' own."""

    checkpoint: Checkpoint
    generator: Generator
    options: DecodingOptions
    max_views: int
    collection: str
    split: str
    studies: Sequence[Study]
    train: Sequence[Study]
    val: Sequence[Study]
    films: Mapping[str, Sequence[Path]]
    others: Mapping[str, Sequence[Path]]


@dataclass(frozen=True, slots=True)
class Reports:
    """What the model wrote: of the studies, of black images in their stead, of their frontal images alone (empty where
    that is nothing else, or no text to compare), and the heads alone on validation studies; and who was left out."""

    model: Sequence[GeneratedReport]
    blank: Sequence[GeneratedReport]
    frontal: Sequence[GeneratedReport]
    validation: Sequence[GeneratedReport]
    left_out: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Scores:
    """Study by study: texts under every view, those of frontal images alone, the finding head (without the whole and
    with it), and the losses of the reports [studies]; of images, how they are told from others."""

    texts: Sequence[TextScores]
    frontal: TextScores | None
    head: HeadOutput
    whole: HeadOutput | None
    validation: HeadOutput
    losses: FloatArray
    ood: OodScores | None


def evaluate(task: Task) -> Evaluation:
    """All of it. Raises ValueError when no study can be reported on, `MissingExtraError` when scorers lack."""
    reports = generate(task)
    return assemble(task, reports, score(task, reports))


def generate(task: Task) -> Reports:
    """Everything that is asked of the model. Raises as `evaluate`."""
    boxed = any(image.boxes for study in task.studies for image in study.images)
    views = text_views(task.generator.model.section_names)
    compared = any(view.fits(task.train) and view.fits(task.studies) for view in views)
    if compared:
        registry.check_extras()
    made = generation.generate(task.generator, task.studies, task.options, max_views=task.max_views, heatmaps=boxed)
    if not made.reports:
        raise ValueError(f"no study could be reported on: {summary.left_out(made.left_out)}")
    frontal = compared and task.max_views > 1
    heads = generation.encode_only(task.options)
    return Reports(
        model=made.reports,
        blank=blank_control(task.generator, made.reports, task.options),
        frontal=frontal_control(task.generator, made.reports, task.options, task.max_views) if frontal else [],
        validation=generation.generate(
            task.generator, task.val, heads, max_views=task.max_views, title="validation"
        ).reports,
        left_out=made.left_out,
    )


def score(task: Task, reports: Reports) -> Scores:
    """Everything that is counted study by study. Raises `MissingExtraError`."""
    texts, frontal = score_texts(task, reports)
    findings = task.generator.manifest.findings
    films = {name: list(paths) for name, paths in task.films.items()}
    for one in reports.model:
        films.setdefault(one.study.source or task.collection, []).extend(image.path for image in one.images)
    return Scores(
        texts=texts,
        frontal=frontal,
        head=HeadOutput.of(reports.model, findings),
        whole=HeadOutput.of_whole(reports.model, task.generator.manifest),
        validation=HeadOutput.of(reports.validation, findings),
        losses=report_losses(reports.model, texts),
        ood=score_ood(task.checkpoint, films, task.others),
    )


def score_texts(task: Task, reports: Reports) -> tuple[list[TextScores], TextScores | None]:
    """The model, its controls and the baselines under every view of the text that the data allow; and frontal images
    alone beside all views, on the studies that have a frontal one."""
    views = list(text_views(task.generator.model.section_names))
    systems = {MODEL: reports.model, SHUFFLED: shuffled_control(reports.model), BLANK: reports.blank}
    prepared = [one for view in views if (one := prepare(view, task.train, systems)) is not None]
    alone = None
    if reports.frontal:
        known = {one.study.id: one for one in reports.model}
        both = {"frontal only": reports.frontal, "all views": [known[one.study.id] for one in reports.frontal]}
        alone = prepare(views[0], task.train, both, only_constant=True)
    scored = text_scores.score([*prepared, *([alone] if alone else [])])
    frontal = scored.pop() if alone else None
    return scored, frontal


def report_losses(reports: Sequence[GeneratedReport], scored: Sequence[TextScores]) -> FloatArray:
    """1 - label F1 of each report under the first view [studies], NaN where the study is not in it."""
    known: dict[str, float] = {}
    for one in scored[:1]:
        losses = selective_prediction.report_losses(one.scores[MODEL].statistics[registry.findings]).tolist()
        known |= zip((study.id for study in one.studies), losses, strict=True)
    return np.array([known.get(one.study.id, np.nan) for one in reports])


def assemble(task: Task, reports: Reports, scores: Scores) -> Evaluation:
    """The figures, with their intervals."""
    manifest = task.generator.manifest
    calibration, rule = Calibration.of(manifest.findings), manifest.abstain
    confidences = selective_prediction.confidence(reports.model, rule)
    first = scores.texts[0] if scores.texts else None
    systems = {MODEL: reports.model, BLANK: reports.blank}
    return Evaluation(
        checkpoint=f"{task.generator.model.name} {task.generator.model.version}",
        collection=task.collection,
        split=task.split,
        views=task.max_views,
        options=task.options,
        left_out=reports.left_out,
        texts=[TextResult(one.view.title, one.table(), one.differences()) for one in scores.texts],
        intervals=first.intervals() if first else {},
        groups=first.groups() if first else {},
        frontal_only=scores.frontal.table() if scores.frontal else None,
        head=score_head(scores.head, calibration),
        validation=score_head(scores.validation, calibration),
        view_accuracy=view_accuracy(reports.model),
        sources=score_sources(systems, task.train, scores.head, scores.whole, manifest),
        consistency=score_consistency(reports.model, manifest.section_names),
        pointing=score_pointing(reports.model),
        stated=score_stated(reports.model),
        places=score_places(task.checkpoint, reports.model),
        ood=scores.ood,
        curves=selective_prediction.curves(reports.model, scores.losses, confidences, scores.head, calibration),
        predictions=predictions(reports.model, scores, calibration),
    )


def predictions(reports: Sequence[GeneratedReport], scores: Scores, calibration: Calibration) -> list[Prediction]:
    """The reports one by one."""
    probabilities = scores.head.calibrated(calibration)
    rows = zip(reports, (1 - scores.losses).tolist(), scores.head.targets, probabilities, strict=True)
    return [
        Prediction(one, text_scores.is_normal(one.study), f1, truths.tolist(), said.tolist())
        for one, f1, truths, said in rows
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training evaluate`."""
    parser.add_argument("checkpoint", type=Path)
    add_data_arguments(parser, split="test", purpose="score")
    parser.add_argument("--train-data", type=Path, help="where train and val are, if not in the same collection")
    parser.add_argument("--precision", default="exact", choices=("exact", "fast"), help="as served (default: exact)")
    parser.add_argument("--views", type=int, help="at most so many images a study, frontal first (default: all)")
    for kind, meaning in (("films", "chest films"), ("others", "other images")):
        parser.add_argument(
            f"--{kind}",
            action="append",
            default=[],
            metavar="NAME=FOLDER",
            help=f"{meaning} to count as accepted or not",
        )
    parser.add_argument("--out", type=Path, help="folder for the JSON, Markdown, CSV and PNG")
    generation.add_decoding_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the summary and writes the files."""
    collection = open_collection(args)
    home = read_collection(args.train_data) if args.train_data else collection
    films, others = (dict(map(named_images, given)) for given in (args.films, args.others))
    checkpoint = load_checkpoint(args.checkpoint)
    # What the service would refuse or not read is scored all the same, blank images among it.
    generator = Generator(checkpoint, precision=args.precision, max_queue=2 * IN_FLIGHT, ood="off", every_view=True)
    try:
        most = generator.model.limits.max_views
        task = Task(
            checkpoint=checkpoint,
            generator=generator,
            options=generation.decoding_options(args, generator),
            max_views=min(most, max(1, args.views or most)),
            collection=collection.name,
            split=args.split,
            studies=collection.studies_of(args.split),
            train=home.split("train"),
            val=home.split("val"),
            films=films,
            others=others,
        )
        evaluation = evaluate(task)
    finally:
        generator.close()
    if args.out:  # before anything is printed: whoever reads it may leave
        files.write(evaluation, args.out)
    print(collection.origin(args.split))
    print(home.origin("train", "val"), end="\n\n")
    print(summary.markdown(evaluation))
    return 0
