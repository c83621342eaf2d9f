"""Evaluation of a checkpoint: reports by the very engine that serves, scored beside controls and baselines.

Writes `evaluation.json` ("details" is for people and comparisons, the rest is what `export` puts into the manifest),
`evaluation.md`, `predictions.csv` and `risk-coverage.png`.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.inference.checkpoint import load_checkpoint
from app.inference.errors import CheckpointError
from app.inference.generator import Generator
from app.inference.options import DecodingOptions
from model_training.data import LAYOUTS, SPLITS, Study, read_collection
from model_training.evaluation import finding_scores, selective_prediction, source_scores
from model_training.evaluation.finding_scores import Calibration, HeadOutput
from model_training.evaluation.generation import (
    IN_FLIGHT,
    Written,
    add_decoding_arguments,
    blank_control,
    decoding_options,
    encode_only,
    generate,
    shuffled_control,
)
from model_training.evaluation.ood_scores import images_in, score_acceptance
from model_training.evaluation.pointing import score_pointing
from model_training.evaluation.text_scores import (
    BLANK,
    MODEL,
    SHUFFLED,
    Prepared,
    Scored,
    is_normal,
    prepare,
    score,
    text_views,
)
from model_training.metrics.agreement import FloatArray
from model_training.metrics.calibration import RiskCoverage
from model_training.metrics.text import MissingExtraError
from model_training.reporting import summary
from model_training.training.dataset import sections_of


@dataclass(frozen=True, slots=True)
class Task:
    """What is evaluated on what: `train` feeds the baselines, `val` shows how the calibration fits its own studies."""

    generator: Generator
    options: DecodingOptions
    max_views: int
    studies: Sequence[Study]
    train: Sequence[Study]
    val: Sequence[Study]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that comes of it. `metrics` is compact, for the manifest; `details` is for people and comparisons."""

    metrics: dict[str, Any]
    details: dict[str, Any]
    written: list[Written]
    losses: FloatArray  # of the reports [studies], NaN without a reference
    output: HeadOutput
    calibration: Calibration
    curves: dict[str, RiskCoverage]


def evaluate(task: Task) -> Result:
    """Generates and scores. Raises `ValueError` when no study can be reported on."""
    boxed = any(image.boxes for study in task.studies for image in study.images)
    generated = generate(task.generator, task.studies, task.options, max_views=task.max_views, heatmaps=boxed)
    written = generated.written
    if not written:
        raise ValueError(f"no study could be reported on: {summary.left_out(generated.left_out)}")
    blank = blank_control(task.generator, written, task.options)
    views = compared(task, written, blank)
    alone = frontal_alone(task, written) if views and task.max_views > 1 else None
    scored = score([*views, *([alone] if alone else [])])
    frontal = scored.pop() if alone else None
    manifest = task.generator.manifest
    calibration, rule = Calibration.of(manifest.findings), manifest.abstain
    output, val = HeadOutput.of(written, manifest.findings), validation(task)
    sources = source_scores.score_sources({MODEL: written, BLANK: blank}, task.train, output, calibration, rule)
    losses = report_losses(written, scored)
    sure = selective_prediction.sureness(output, calibration, rule)
    curves = selective_prediction.curves(written, losses, sure, output, calibration)
    tables: dict[str, dict[str, Any]] = {
        one.view.title: {"studies": len(one.studies), "scores": one.table()} for one in scored
    }
    metrics = {
        "studies": len(written),
        "views": task.max_views,
        "options": task.options.as_dict(),
        **({"text": scored[0].view.title, "scores": scored[0].intervals()} if scored else {}),
        "leads": {one.view.title: one.differences()[MODEL] for one in scored},
        "compared": {title: summary.beside(part["scores"]) for title, part in tables.items()},
        "finding head": finding_scores.summarise(output, calibration),
        "validation": {"studies": len(val.logits), **finding_scores.summarise(val, calibration)},
        "view accuracy": finding_scores.view_accuracy(written),
        "sources": source_scores.compact(sources),
        "pointing": score_pointing(written),
    }
    details = {
        "left out": generated.left_out,
        "tables": tables,
        "differences": {one.view.title: one.differences() for one in scored},
        "groups": scored[0].groups() if scored else {},
        "frontal only": {"studies": len(frontal.studies), "scores": frontal.table()} if frontal else None,
        "findings": finding_scores.score_findings(output, calibration),
        "sources": sources,
        "abstaining": selective_prediction.summarise(curves),
    }
    return Result(metrics, details, written, losses, output, calibration, curves)


def report_losses(written: Sequence[Written], scored: Sequence[Scored]) -> FloatArray:
    """1 - label F1 of each report under the first view [studies], NaN where the study is not in it."""
    known: dict[str, float] = {}
    for one in scored[:1]:
        losses = selective_prediction.report_losses(one.scores[MODEL].labels).tolist()
        known |= zip((study.id for study in one.studies), losses, strict=True)
    return np.array([known.get(one.study.id, np.nan) for one in written])


def compared(task: Task, written: list[Written], blank: list[Written]) -> list[Prepared]:
    """The model, its controls and the baselines under every view of the text that the data allow."""
    systems = {MODEL: written, SHUFFLED: shuffled_control(written), BLANK: blank}
    views = text_views(task.generator.model.section_names)
    return [one for view in views if (one := prepare(view, task.train, systems)) is not None]


def frontal_alone(task: Task, written: Sequence[Written]) -> Prepared | None:
    """Frontal images alone beside all views, on the studies that have a frontal one; None where none has."""
    known = {one.study.id: one for one in written}
    several = [one.study for one in written if len(one.images) > 1]
    options, views = task.options, task.max_views
    again = generate(task.generator, several, options, max_views=views, view="frontal", title="frontal only").written
    # Of the others the frontal image was all there is: their report stands.
    frontal = again + [one for one in written if len(one.images) == 1 and one.images[0].view == "frontal"]
    if not frontal:
        return None
    systems = {"frontal only": frontal, "all views": [known[one.study.id] for one in frontal]}
    return prepare(next(text_views(task.generator.model.section_names)), task.train, systems, only_constant=True)


def validation(task: Task) -> HeadOutput:
    """The finding head on the validation studies."""
    heads = encode_only(task.options)
    written = generate(task.generator, task.val, heads, max_views=task.max_views, title="validation").written
    return HeadOutput.of(written, task.generator.manifest.findings)


def write(result: Result, metrics: Mapping[str, Any], folder: Path) -> None:
    """All files of an evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "metrics": metrics,
        "details": result.details,
    }
    (folder / "evaluation.json").write_text(json.dumps(summary.plain(content), indent=1, allow_nan=False) + "\n")
    (folder / "evaluation.md").write_text(summary.markdown(metrics, result.details))
    write_predictions(folder / "predictions.csv", result)
    selective_prediction.plot(result.curves, folder / summary.PLOT)


def write_predictions(path: Path, result: Result) -> None:
    """One row a study: what was written of it, how well, and what the finding head said."""
    names = list(sections_of(result.written[0].study))
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        header = ["id", "views", "normal", *(f"reference {name}" for name in names), *(f"generated {n}" for n in names)]
        header += ["score", "tokens", "finish reason", "label F1"]
        table.writerow([*header, *(f"{kind}: {n}" for n in result.output.names for kind in ("truth", "probability"))])
        probabilities = result.output.probabilities(result.calibration.temperatures)
        for i, one in enumerate(result.written):
            best = one.report.hypotheses[0]
            row = [one.study.id, len(one.images), int(is_normal(one.study)), *sections_of(one.study).values()]
            row += [*(best.sections.get(name, "") for name in names), round(best.score, 4), best.tokens]
            row += [best.finish_reason, _blank_or(1 - result.losses[i], "{:.4f}")]
            pairs = zip(result.output.targets[i], probabilities[i], strict=True)
            table.writerow([*row, *(cell for t, p in pairs for cell in (_blank_or(t, "{:.0f}"), f"{p:.4f}"))])


def _blank_or(value: float, form: str) -> str:
    return "" if np.isnan(value) else form.format(value)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training evaluate`."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of a collection, any layout")
    parser.add_argument("--layout", choices=LAYOUTS, help="the collection's layout, where it cannot be told")
    parser.add_argument("--split", default="test", choices=(*SPLITS, "none"), help="studies to score (default: test)")
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
    add_decoding_arguments(parser)


def _named_folder(text: str) -> tuple[str, list[Path]]:
    """NAME=FOLDER as the name and the images of the folder. Raises ValueError and OSError."""
    name, _, folder = text.partition("=")
    return name, images_in(Path(folder))


def run(args: argparse.Namespace) -> int:
    """Prints the summary and writes the files."""
    try:
        collection = read_collection(args.data, args.layout)
        home = read_collection(args.train_data) if args.train_data else collection
        studies = collection.split(None if args.split == "none" else args.split)
        films, others = (dict(map(_named_folder, given)) for given in (args.films, args.others))
        # What the intake would refuse is scored all the same, blank images among it.
        settings = {"precision": args.precision, "max_queue": 2 * IN_FLIGHT, "ood": "off"}
        generator = Generator.load(args.checkpoint, **settings)
    except (OSError, ValueError, CheckpointError) as error:
        print(f"error: {error}")
        return 2
    try:
        most = generator.model.limits.max_views
        views = min(most, max(1, args.views or most))
        options = decoding_options(args, generator)
        result = evaluate(Task(generator, options, views, studies, home.split("train"), home.split("val")))
    except (ValueError, MissingExtraError) as error:
        print(f"error: {error}")
        return 2
    finally:
        generator.close()
    source = {
        "checkpoint": f"{generator.model.name} {generator.model.version}",
        "collection": collection.name,
        "split": args.split,
    }
    for one in result.written:
        films.setdefault(one.study.source or collection.name, []).extend(image.path for image in one.images)
    accepted = score_acceptance(load_checkpoint(args.checkpoint), films, others)
    metrics = source | result.metrics | {"acceptance": accepted}
    print(summary.markdown(metrics, result.details))
    if args.out:
        write(result, metrics, args.out)
    return 0
