"""One card a study: everything the gallery shows of it, as plain values."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from app.report import Heatmap, Report
from app.text.findings import POSITIVE
from app.text.labeller import label_report
from app.text.sentences import Sentence as Split
from app.text.sentences import sentences_of, split
from app.text.tokenizer import join_words, words
from model_training.data.images import read_image
from model_training.data.labels import labels_of, mentions_of
from model_training.data.study import StudyImage
from model_training.evaluation.generation import GeneratedReport
from model_training.evaluation.selective_prediction import report_losses
from model_training.evaluation.text_scores import is_normal
from model_training.metrics import r2gen
from model_training.metrics import text as text_metrics
from model_training.metrics.agreement import Labels, label_counts
from model_training.reporting.gallery.differences import agreement

IMAGE_SIDE = 400


@dataclass(frozen=True, slots=True)
class Looked:
    """Where the model looked: a byte a position for each image, and what that is in words."""

    maps: tuple[bytes, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words of one sentence, which of them the other report says too, and where the model looked for it.

    `telling`: it names a finding as present.
    """

    words: tuple[str, ...]
    agrees: tuple[bool, ...]
    telling: bool = False
    looked: Looked | None = None

    @property
    def text(self) -> str:
        """As generated."""
        return join_words(self.words)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, `uri` holding a small JPEG of it; its view as labelled, the model's with its probability; and of its
    heatmaps the positions a side and the box: left, top, right, bottom as fractions."""

    uri: str
    width: int
    height: int
    view: str
    guess: str
    probability: float
    side: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Bar:
    """The finding head on one finding, which is not present in a study that is not abnormal; `truth` is None where the
    study is not labelled for it."""

    name: str
    probability: float
    threshold: float
    present: bool
    truth: bool | None
    looked: Looked


@dataclass(frozen=True, slots=True)
class Card:
    """One study. `labels`: each finding that report or truth name, with which of them does (hit, missed, invented)."""

    id: str
    normal: bool
    pictures: tuple[Picture, ...]
    reference: dict[str, list[Sentence]]
    prediction: dict[str, list[Sentence]]
    warnings: tuple[str, ...]
    labels: dict[str, str]
    bars: tuple[Bar, ...]
    label_f1: float
    bleu: float
    score: float


def make_card(generated: GeneratedReport, names: Sequence[str]) -> Card:
    """The card of a study whose report has heatmaps; `names` are those of the sections."""
    study, report = generated.study, generated.report
    given = study.sections
    reference, prediction = compared({name: given[name] for name in names if given.get(name)}, report, names)
    wanted = " ".join(given[name] for name in names if given.get(name))
    text = generated.text(names)
    truth = mentions_of(study, wanted)
    found = label_report(text)
    statistics = text_metrics.bleu_statistics([r2gen.clean(wanted)], [r2gen.clean(text)])
    return Card(
        id=study.id,
        normal=is_normal(study),
        pictures=pictures(generated),
        reference=reference,
        prediction=prediction,
        warnings=report.warnings,
        labels=compare_labels(positive(truth), positive(found)),
        bars=bars(generated),
        label_f1=float(1 - report_losses(label_counts([truth], [found]))[0]),
        bleu=float(text_metrics.bleu_of(statistics)[0, 3]),
        score=report.hypotheses[0].score,
    )


def compared(
    given: dict[str, str], report: Report, names: Sequence[str]
) -> tuple[dict[str, list[Sentence]], dict[str, list[Sentence]]]:
    """Reference and prediction by section, each word marked by whether the other has it."""
    assert report.heatmaps  # noqa: S101 (narrows the type)
    seen = [looked(one.maps, one.source, one.findings) for one in report.heatmaps.sentences]
    written = list(zip(sentences_of(report.hypotheses[0].token_texts, names), seen, strict=True))
    reference: dict[str, list[Sentence]] = {}
    prediction: dict[str, list[Sentence]] = {}
    for name in names:
        ours = [(one, None) for one in split(name, enumerate(words(given.get(name, ""))))]
        theirs = [(one, where) for one, where in written if one.section == name]
        marks = agreement([one.words for one, _ in ours], [one.words for one, _ in theirs])
        if ours:
            reference[name] = list(map(_sentence, ours, marks[0]))
        if theirs:
            prediction[name] = list(map(_sentence, theirs, marks[1]))
    return reference, prediction


def _sentence(pair: tuple[Split, Looked | None], agrees: Sequence[bool]) -> Sentence:
    one, where = pair
    return Sentence(one.words, tuple(agrees), bool(positive(label_report(one.text))), where)


def looked(maps: Sequence[Heatmap], source: str, findings: Sequence[str]) -> Looked:
    """A heatmap of each image for the page."""
    what = f"Evidence for {' and '.join(findings)}" if source == "evidence" else "Attention while writing this"
    return Looked(
        tuple(bytes(level for row in one.levels for level in row) for one in maps),
        f"{what.replace('_', ' ')}: up to {maps[0].scale:.0%} in one place.",
    )


def pictures(generated: GeneratedReport) -> tuple[Picture, ...]:
    """The images that the model was shown."""
    heatmaps = generated.report.heatmaps
    assert heatmaps  # noqa: S101 (narrows the type)
    made = []
    for image, guess, one in zip(generated.images, generated.report.views, heatmaps.findings[0].maps, strict=True):
        uri, (width, height) = data_uri(image)
        view = image.view or "view unknown"
        made.append(Picture(uri, width, height, view, guess.view, guess.probability, len(one.levels), one.box))
    return tuple(made)


def positive(labels: Labels) -> set[str]:
    """The findings that count as named."""
    return {name for name, mention in labels.items() if mention.status in POSITIVE}


def compare_labels(truth: set[str], found: set[str]) -> dict[str, str]:
    """Finding to "hit", "missed" or "invented", in alphabetical order."""
    kinds = {(True, True): "hit", (True, False): "missed", (False, True): "invented"}
    return {name: kinds[name in truth, name in found] for name in sorted(truth | found)}


def bars(generated: GeneratedReport) -> tuple[Bar, ...]:
    """One for each finding of the head, in its order."""
    findings, heatmaps = generated.report.findings, generated.report.heatmaps
    assert heatmaps  # noqa: S101 (narrows the type)
    targets = labels_of(generated.study, [finding.name for finding in findings])
    return tuple(
        Bar(
            finding.name,
            finding.probability,
            finding.threshold,
            finding.present,
            None if np.isnan(target) else bool(target),
            looked(one.maps, "evidence", [finding.name]),
        )
        for finding, target, one in zip(findings, targets, heatmaps.findings, strict=True)
    )


def data_uri(image: StudyImage) -> tuple[str, tuple[int, int]]:
    """The image as a small JPEG within the page, and its width and height there."""
    pixels = read_image(image.path).pixels
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), picture.size
