"""One card a study: everything the gallery shows of it, as plain values."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from app.images.decode import decode_image
from app.inference.findings import POSITIVE
from app.inference.labeller import label_report
from app.inference.tokenizer import EOS, SPECIAL_TOKENS, Tokenizer, join_words, words
from app.report import Hypothesis
from model_training import metrics, r2gen
from model_training.abstention import report_losses
from model_training.agreement import Labels, label_counts
from model_training.data.study import StudyImage
from model_training.dataset import labels_of, sections_of
from model_training.gallery.attention import word_attention
from model_training.gallery.differences import agreement
from model_training.generation import Written
from model_training.mesh import label_mesh
from model_training.model.report_model import ReportModel
from model_training.text_scores import is_normal

IMAGE_SIDE = 320
_ENDS = frozenset(".!?")


@dataclass(slots=True)
class Sentence:
    """Words of one sentence, which of them the other report says too, and where the model looked as it wrote them.

    `telling`: it names a finding as present. `maps` holds a byte a position for each view, the highest of all views
    being 255; `on_findings` is the share of attention that went to the predicted findings instead.
    """

    words: list[str]
    places: list[int]
    agrees: list[bool]
    telling: bool = False
    maps: tuple[bytes, ...] = ()
    on_findings: float = 0.0

    @property
    def text(self) -> str:
        """As written."""
        return join_words(self.words)


@dataclass(frozen=True, slots=True)
class Bar:
    """The finding head on one finding; `truth` is None where the study is not labelled for it."""

    name: str
    probability: float
    threshold: float
    truth: bool | None


@dataclass(frozen=True, slots=True)
class Card:
    """One study. `labels`: each finding that report or truth name, with which of them does (hit, missed, invented)."""

    id: str
    normal: bool
    images: tuple[tuple[str, str], ...]  # view, data URI
    reference: dict[str, list[Sentence]]
    prediction: dict[str, list[Sentence]]
    labels: dict[str, str]
    bars: tuple[Bar, ...]
    label_f1: float
    bleu: float
    score: float


def make_card(written: Written, tokenizer: Tokenizer, thresholds: Sequence[float], model: ReportModel | None) -> Card:
    """The card of a study; without a `model` it has no attention."""
    study, report = written.study, written.report
    names = tokenizer.section_names
    given = sections_of(study)
    reference = {name: split(enumerate(words(given[name]))) for name in names if given.get(name)}
    prediction = predicted_sentences(report.hypotheses[0], names)
    for name in {*reference, *prediction}:
        ours, theirs = reference.get(name, []), prediction.get(name, [])
        marks = agreement([s.words for s in ours], [s.words for s in theirs])
        for sentence, agrees in zip([*ours, *theirs], [*marks[0], *marks[1]], strict=True):
            sentence.agrees = agrees
            sentence.telling = bool(positive(label_report(sentence.text)))
    if model is not None:
        add_attention(model, written, tokenizer, [s for part in prediction.values() for s in part])
    wanted = " ".join(given[name] for name in names if given.get(name))
    text = written.text(names)
    truth = label_mesh(study.mesh) if study.mesh else label_report(wanted)
    found = label_report(text)
    statistics = metrics.bleu_statistics([r2gen.clean(wanted)], [r2gen.clean(text)])
    return Card(
        id=study.id,
        normal=is_normal(study),
        images=tuple((image.view or "view unknown", data_uri(image)) for image in written.images),
        reference=reference,
        prediction=prediction,
        labels=compare_labels(positive(truth), positive(found)),
        bars=bars(written, thresholds),
        label_f1=float(1 - report_losses(label_counts([truth], [found]))[0]),
        bleu=float(metrics.bleu_of(statistics)[0, 3]),
        score=report.hypotheses[0].score,
    )


def split(placed: Iterable[tuple[int, str]]) -> list[Sentence]:
    """Sentences of words with their places; the number of an enumeration belongs to what it counts."""
    sentences: list[Sentence] = []
    open_ = False
    for place, word in placed:
        if not open_:
            sentences.append(Sentence([], [], []))
        sentences[-1].words.append(word)
        sentences[-1].places.append(place)
        open_ = word not in _ENDS or all(w.isdigit() for w in sentences[-1].words[:-1])
    return sentences


def predicted_sentences(hypothesis: Hypothesis, section_names: Sequence[str]) -> dict[str, list[Sentence]]:
    """Section to sentences, each word placed among the generated tokens."""
    markers = {f"<{name}>": name for name in section_names}
    parts: dict[str, list[tuple[int, str]]] = {name: [] for name in section_names}
    current = section_names[0]
    for place, token in enumerate(hypothesis.token_texts):
        if token in markers:
            current = markers[token]
        elif token not in SPECIAL_TOKENS:
            parts[current].append((place, token))
    return {name: split(part) for name, part in parts.items() if part}


def add_attention(model: ReportModel, written: Written, tokenizer: Tokenizer, sentences: Sequence[Sentence]) -> None:
    """Fills in where the model looked, averaged over the words of each sentence."""
    ids = {token: i for i, token in enumerate(tokenizer.tokens)}
    generated = [ids[token] for token in written.report.hypotheses[0].token_texts]
    over_views, on_findings = word_attention(model, written.images, generated or [EOS])
    for sentence in sentences:
        spoken = [p for p, word in zip(sentence.places, sentence.words, strict=True) if word[0].isalnum()]
        places = spoken or sentence.places
        sentence.maps = quantise(over_views[places].mean(0))
        sentence.on_findings = float(on_findings[places].mean())


def quantise(attention: Tensor) -> tuple[bytes, ...]:
    """A byte a position for each view of f32[V,P]: 0 for the least, 255 for the most attended of all views."""
    low, high = attention.min(), attention.max()
    levels = ((attention - low) / (high - low).clamp(min=1e-12) * 255).round().byte()
    return tuple(bytes(row) for row in levels.tolist())


def positive(labels: Labels) -> set[str]:
    """The findings that count as named."""
    return {name for name, mention in labels.items() if mention.status in POSITIVE}


def compare_labels(truth: set[str], found: set[str]) -> dict[str, str]:
    """Finding to "hit", "missed" or "invented", in alphabetical order."""
    kinds = {(True, True): "hit", (True, False): "missed", (False, True): "invented"}
    return {name: kinds[name in truth, name in found] for name in sorted(truth | found)}


def bars(written: Written, thresholds: Sequence[float]) -> tuple[Bar, ...]:
    """One for each finding of the head, in its order."""
    findings = written.report.findings
    targets = labels_of(written.study, [finding.name for finding in findings])
    return tuple(
        Bar(finding.name, finding.probability, threshold, None if np.isnan(target) else bool(target))
        for finding, threshold, target in zip(findings, thresholds, targets, strict=True)
    )


def data_uri(image: StudyImage) -> str:
    """The image as a small JPEG within the page."""
    pixels = decode_image(image.path.read_bytes()).pixels
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
