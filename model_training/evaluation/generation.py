"""Reports for whole splits by the very engine that serves, and the controls that tell seeing from memorisation."""

from __future__ import annotations

import argparse
import random
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from app.images.decode import DecodedImage
from app.inference.errors import GenerationError, NoUsableViewError
from app.inference.generator import Generator
from app.inference.options import EARLY_STOPPING, RANGES, DecodingOptions, InvalidOptionError, parse_option
from app.report import Report
from model_training.data.images import UnreadableImageError, read_image
from model_training.data.study import Study, StudyImage, View

IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class GeneratedReport:
    """A study, the images of it that the model was shown, and the report it wrote."""

    study: Study
    images: tuple[StudyImage, ...]
    report: Report

    def text(self, sections: Sequence[str]) -> str:
        """The sections asked for of the best hypothesis, joined; empty where it wrote none of them."""
        given = self.report.hypotheses[0].sections
        return " ".join(given[name] for name in sections if given.get(name))

    def whole_text(self) -> str:
        """All sections of the best hypothesis, joined."""
        return self.text(tuple(self.report.hypotheses[0].sections))


@dataclass(frozen=True, slots=True)
class Generated:
    """What came of a split: the reports in the order of the studies, and the ids left out by reason."""

    reports: list[GeneratedReport] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, study: Study) -> None:
        """Counts a study that has no report."""
        self.left_out.setdefault(reason, []).append(study.id)


def generate(
    generator: Generator,
    studies: Iterable[Study],
    options: DecodingOptions,
    *,
    max_views: int | None = None,
    view: View | None = None,
    heatmaps: bool = False,
    title: str = "generate",
) -> Generated:
    """A report for every study from at most `max_views` of its images, frontal ones first, or only those of one `view`;
    with `heatmaps` it says where the model looked.

    Studies without such an image, with an image that cannot be decoded, or that the network fails on are left out and
    named. The generator's queue must hold `IN_FLIGHT` studies.
    """
    generated = Generated()
    waiting: deque[tuple[Study, tuple[StudyImage, ...], Future[Report]]] = deque()

    def collect() -> None:
        study, images, future = waiting.popleft()
        try:
            generated.reports.append(GeneratedReport(study, images, future.result()))
        except (GenerationError, NoUsableViewError) as error:
            generated.leave_out(str(error), study)

    for study in tqdm(list(studies), desc=title, unit="study"):
        images = choose_images(study, max_views or generator.model.limits.max_views, view)
        if not images:
            generated.leave_out("no image" if view is None else f"no {view} image", study)
            continue
        try:
            decoded = [read_image(image.path) for image in images]
        except UnreadableImageError as error:
            tqdm.write(f"left out: {study.id}: {error}", file=sys.stderr)
            generated.leave_out("an image cannot be read", study)
            continue
        # The queue is bounded: take an early answer before adding a late study.
        if len(waiting) == IN_FLIGHT:
            collect()
        pixels = [image.pixels for image in decoded]
        seen = tuple(map(_as_seen, images, decoded))
        waiting.append((study, seen, generator.submit(pixels, options, heatmaps=heatmaps)))
    while waiting:
        collect()
    return generated


def _as_seen(image: StudyImage, decoded: DecodedImage) -> StudyImage:
    """With its boxes where they lie in what was decoded of it, which is without wide borders."""
    boxes = (box.within(decoded.width, decoded.height, decoded.region) for box in image.boxes)
    return replace(image, boxes=tuple(boxes))


def choose_images(study: Study, limit: int, view: View | None = None) -> tuple[StudyImage, ...]:
    """At most `limit` images of a study, frontal ones first, else in the order of the source."""
    given = [image for image in study.images if view is None or image.view == view]
    return tuple(sorted(given, key=lambda image: image.view != "frontal")[:limit])


def encode_only(options: DecodingOptions) -> DecodingOptions:
    """Options for when only the heads are asked: the shortest report there is."""
    return options.with_changes(num_beams=1, num_return_sequences=1, min_new_tokens=0, max_new_tokens=1)


def blank_control(
    generator: Generator, reports: Sequence[GeneratedReport], options: DecodingOptions
) -> list[GeneratedReport]:
    """What the model writes of black images, as many a study as before; generated once for each number of views."""
    size = generator.model.image_size
    black = np.zeros((size, size), np.uint8)
    counts = {len(one.images) for one in reports}
    answers = {n: generator.submit([black] * n, options) for n in sorted(counts)}
    return [GeneratedReport(one.study, one.images, answers[len(one.images)].result()) for one in reports]


def frontal_control(
    generator: Generator, reports: Sequence[GeneratedReport], options: DecodingOptions, max_views: int
) -> list[GeneratedReport]:
    """What the model writes of the frontal image alone, of every study that has one."""
    several = [one.study for one in reports if len(one.images) > 1]
    again = generate(generator, several, options, max_views=max_views, view="frontal", title="frontal only").reports
    # Of the others the frontal image was all there is: their report stands.
    return again + [one for one in reports if len(one.images) == 1 and one.images[0].view == "frontal"]


def shuffled_control(reports: Sequence[GeneratedReport], seed: int = 0) -> list[GeneratedReport]:
    """Every study with the report that was written of another one's images."""
    order = derangement(len(reports), seed)
    return [GeneratedReport(one.study, one.images, reports[i].report) for one, i in zip(reports, order, strict=True)]


def derangement(count: int, seed: int) -> list[int]:
    """A random order in which nobody stays in place (but one alone): each takes the next one's of a random ring."""
    ring = list(range(count))
    random.Random(seed).shuffle(ring)
    target = dict(zip(ring, ring[1:] + ring[:1], strict=True))
    return [target[i] for i in range(count)]


def add_decoding_arguments(parser: argparse.ArgumentParser) -> None:
    """`--num-beams` and all other decoding options; absent means the checkpoint's default."""
    group = parser.add_argument_group("decoding options, by default the checkpoint's")
    for name in DecodingOptions.__dataclass_fields__:
        # Only the best hypothesis is looked at.
        if name != "num_return_sequences":
            help_ = f"{RANGES[name].meaning} {RANGES[name]}" if name in RANGES else ", ".join(EARLY_STOPPING)
            group.add_argument(f"--{name.replace('_', '-')}", type=partial(_option, name), metavar="VALUE", help=help_)


def decoding_options(args: argparse.Namespace, generator: Generator) -> DecodingOptions:
    """The checkpoint's options with those given. Raises `InvalidOptionError`."""
    given = {name: getattr(args, name, None) for name in DecodingOptions.__dataclass_fields__}
    changes = {name: value for name, value in given.items() if value is not None}
    return generator.model.default_options.with_changes(**changes, num_return_sequences=1)


def _option(name: str, text: str) -> Any:
    try:
        return parse_option(name, text)
    except InvalidOptionError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
