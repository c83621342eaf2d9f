"""What a collection holds: studies, images, texts and labels split by split, and everything wrong with it by name."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from app.text.findings import FINDINGS
from model_training.data import SPLITS, Collection, Study
from model_training.data.arguments import add_data_arguments, open_collection
from model_training.data.collection import with_problem
from model_training.data.images import unreadable_images
from model_training.data.labels import labels_of
from model_training.data.text.deidentification import holds_mark
from model_training.data.text.prior_exams import mentions_prior_exam
from model_training.data.text.text_policy import TextPolicy

Rows = Iterable[Sequence[str | int]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_data_arguments(parser)
    parser.add_argument("--images", action="store_true", help="also decode every image, and name those that fail")
    parser.add_argument("--names", type=int, default=5, metavar="N", help="names to print of each problem (default 5)")


def run(args: argparse.Namespace) -> int:
    """Prints the description."""
    collection = open_collection(args)
    if args.images:
        collection = with_problem(collection, "unreadable-image", unreadable_images(collection.studies))
    print(describe(collection, args.names, decoded=args.images))
    return 0


def describe(collection: Collection, names: int = 5, *, decoded: bool = False) -> str:
    """The description as text, `names` names of each problem. It says so unless images were `decoded`."""
    splits: dict[str, Sequence[Study]] = {name or "none": collection.split(name) for name in (*SPLITS, None)}
    groups = {name: studies for name, studies in splits.items() if studies}
    if len(groups) > 1:
        groups["all"] = collection.studies
    parts = [
        "\n".join([f"{collection.name} ({collection.layout})", *(f"  {note}" for note in collection.notes)]),
        _table(_CONTENT, (_content(name, studies) for name, studies in groups.items())),
        *_sources(collection),
        *_labels(groups),
        *_texts(groups),
        "\n  ".join(
            [
                ("problems" if collection.problems else "no problems")
                + ("" if decoded else " (images not decoded; --images does)"),
                *(p.describe(names) for p in collection.problems),
            ]
        ),
    ]
    return "\n\n".join(parts)


_CONTENT = ("split", "studies", "with image", "images", "frontal", "lateral", "unknown", "findings", "impression")


def _content(name: str, studies: Sequence[Study]) -> list[str | int]:
    views = Counter(image.view for study in studies for image in study.images)
    texts = [
        sum(bool(text) for text in column)
        for column in zip(*((s.findings, s.impression) for s in studies), strict=True)
    ]
    with_image = sum(bool(study.images) for study in studies)
    return [name, len(studies), with_image, views.total(), views["frontal"], views["lateral"], views[None], *texts]


def _sources(collection: Collection) -> list[str]:
    """Studies of each source, where the collection was gathered from several."""
    counts = Counter(study.source for study in collection.studies if study.source)
    return [_table(("source", "studies"), counts.most_common())] if counts else []


def _labels(groups: dict[str, Sequence[Study]]) -> list[str]:
    """Studies with each finding present, of those labelled: by the source, else by its MeSH codes."""
    present, labelled = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for group, studies in groups.items():
        for study in studies:
            for finding, value in _labels_of(study).items():
                labelled[finding, group] += value is not None
                present[finding, group] += bool(value)
    findings = sorted({finding for finding, _ in labelled}, key=lambda f: (-max(present[f, g] for g in groups), f))
    rows = ([f, *(f"{present[f, g]:,}/{labelled[f, g]:,}" for g in groups)] for f in findings)
    return [_table(("present/labelled", *groups), rows)] if findings else []


def _labels_of(study: Study) -> dict[str, bool | None]:
    if study.labels or not study.mesh:
        return dict(study.labels)
    return {finding: bool(label) for finding, label in zip(FINDINGS, labels_of(study, FINDINGS), strict=True)}


def _texts(groups: dict[str, Sequence[Study]]) -> list[str]:
    """What the default text policy finds and does, in share of the sections that hold text."""
    rows = []
    for name, studies in groups.items():
        for section in ("findings", "impression"):
            effects = [_effect(text) for study in studies if (text := getattr(study, section))]
            if effects:
                shares = (f"{sum(column) / len(effects):.1%}" for column in zip(*effects, strict=True))
                rows.append([name, section, len(effects), *shares])
    return (
        [_table(("split", "section", "texts", "marked", "on prior exams", "changed", "emptied"), rows)] if rows else []
    )


@cache  # reports repeat, and every split is part of all
def _effect(text: str) -> tuple[bool, bool, bool, bool]:
    """Whether a text holds a mark, mentions an earlier examination, is changed beyond tidying, and is emptied."""
    cleaned = TextPolicy().clean(text)
    return holds_mark(text), mentions_prior_exam(text), cleaned != TextPolicy("keep", "keep").clean(text), not cleaned


def _table(header: Sequence[str], rows: Rows) -> str:
    """Columns as wide as their widest cell: words to the left, numbers to the right."""
    cells = [list(header), *([f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [any(row[i][:1].isdigit() for row in cells[1:]) for i in range(len(header))]
    return "\n".join(
        "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)).rstrip()
        for row in cells
    )
