"""From `Study` records to training batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.text.facts import Fact
from app.text.tokenizer import BOS, EOS, PAD, Tokenizer
from model_training.config import Config
from model_training.data.labels import abnormal_of, attributes_of, labels_of
from model_training.data.pairing.composition import Composer
from model_training.data.pairing.statements import facts_in
from model_training.data.study import Study, StudyImage
from model_training.model.report_model import VIEW_NAMES, ReportModel
from model_training.training.augmentation import AMOUNTS, Changes, augment, changes_of
from model_training.training.image_cache import ImageCache, cache_images

IGNORED = -100
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Training input: images f32[B,1,S,S] of all views given, view mask bool[N,V], views i64[B] (-100 unknown),
    labels f32[N,F+1] of the findings and of the whole (a probability where a teacher gave it, NaN unlabelled),
    attributes f32[N,A] of patient and exposure (NaN unknown), tokens i64[N,T] with bos, eos and padding, and the facts
    i64[N,F+1,3] that the words say.

    `boxes` f32[K,6] say where findings lie: row of the image, finding, left, top, right, bottom in -1..1 from edge to
    edge of the image before `changes`, which are still to be made (`on_device`).
    """

    images: Tensor
    view_mask: Tensor
    views: Tensor
    labels: Tensor
    attributes: Tensor
    tokens: Tensor
    facts: Tensor
    boxes: Tensor
    changes: Changes | None = None

    def on_device(self, device: torch.device) -> Batch:
        """The batch where the model is, images changed, in the memory order that convolutions are fastest in."""
        images, changes = self.images.to(device), self.changes
        if changes is not None:
            changes = changes.to(device)
            images = augment(images, changes)
        return Batch(
            images.contiguous(memory_format=torch.channels_last),
            self.view_mask.to(device),
            self.views.to(device),
            self.labels.to(device),
            self.attributes.to(device),
            self.tokens.to(device),
            self.facts.to(device),
            self.boxes.to(device),
            changes,
        )


def training_text(study: Study, config: Config) -> dict[str, str]:
    """The report the model is to write: the configured sections, cleaned by the text policy."""
    cleaned = config.text.apply(study).sections
    return {name: cleaned[name] for name in config.data.sections}


def boxes_of(image: StudyImage, findings: Sequence[str], region: Sequence[int]) -> list[list[float]]:
    """The image's boxes of these findings as index, left, top, right, bottom in -1..1 over the square that
    preprocessing pads what is seen of it to; for `region` see `ImageCache`."""
    width, height, left, top, right, bottom = region
    size = np.array([right - left, bottom - top])
    half = size / size.max()
    found = []
    for box in image.boxes:
        if box.finding in findings:
            seen = box.within(width, height, (left, top, right, bottom))
            centre, extent = (np.array([seen.x, seen.y]) * 2 - 1) * half, np.array([seen.width, seen.height]) * half
            found.append([float(findings.index(box.finding)), *(centre - extent), *(centre + extent)])
    return found


class Examples:
    """The studies of one split, ready to be batched."""

    def __init__(
        self,
        studies: Sequence[Study],
        texts: Sequence[Mapping[str, str]],
        tokenizer: Tokenizer,
        config: Config,
        model: ReportModel,
        cache: Path,
        composer: Composer | None = None,
    ) -> None:
        """`texts` are the studies' `training_text`, `cache` is the folder for decoded images, which are made with the
        first batch, or by `decode`. Every study has images.

        With `composer`, studies have reports drawn from it in place of the texts: a batch with a seed by that seed, one
        without always the same. A study without text has no words to learn, not the words of an empty report.
        """
        self.studies, self.texts = list(studies), list(texts)
        self.max_views, self.view_dropout = config.data.max_views, config.training.view_dropout
        self.augmentation = config.augmentation
        self._augmented = any(config.as_dict()["augmentation"].values())
        self._place_dropout = config.training.place_dropout
        self._model, self._cache = model, cache
        self.first = np.cumsum([0, *(len(study.images) for study in self.studies)])
        self.views = [
            [VIEW_NAMES.index(image.view) if image.view else IGNORED for image in study.images]
            for study in self.studies
        ]
        self.findings = config.data.findings
        self.labels = torch.tensor([[*labels_of(study, self.findings), abnormal_of(study)] for study in self.studies])
        self.targets = self.labels
        self.attributes = torch.tensor([attributes_of(study) for study in self.studies])
        self._tokenizer, self._limit, self._composer = tokenizer, 1 + config.model.max_new_tokens, composer
        drawn = [composer.draw(study, config.training.seed) for study in self.studies] if composer else []
        self.tokens = [self._encode(text) for text in ([one.sections for one in drawn] or self.texts)]
        self.facts = [one.facts for one in drawn] or [facts_in(text, self.findings) for text in self.texts]

    def __len__(self) -> int:
        return len(self.studies)

    def decode(self) -> None:
        """Has the images at hand. Raises `UnreadableImageError` that names those which cannot be decoded."""
        _ = self._cached

    @cached_property
    def _cached(self) -> ImageCache:
        return cache_images(self.studies, self._model, self._cache)

    @cached_property
    def images(self) -> npt.NDArray[np.float16] | Tensor:
        """Those of all studies, [N,S,S], in order."""
        return self._cached.images

    @cached_property
    def boxes(self) -> list[list[list[float]]]:
        """Those of each image, as `boxes_of` gives them."""
        images = [image for study in self.studies for image in study.images]
        regions = self._cached.regions.tolist()
        return [boxes_of(image, self.findings, region) for image, region in zip(images, regions, strict=True)]

    def keep_on(self, device: torch.device) -> None:
        """Moves the images to a GPU, if half of its free memory holds them, and spares sending them every epoch."""
        if device.type == "cuda" and self.images.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
            self.images = torch.as_tensor(np.asarray(self.images), device=device)

    def fingerprint(self) -> str:
        """Equal for the same studies with the same words, labels and numbers of images, wherever their files lie."""
        content = [[study.id, ids, len(study.images)] for study, ids in zip(self.studies, self.tokens, strict=True)]
        return hashlib.sha256(repr(content).encode() + self.targets.numpy().tobytes()).hexdigest()

    def batch(self, indices: Sequence[int], seed: tuple[int, ...] | None = None) -> Batch:
        """Gathers studies; an index beyond their number is another draw of the study it comes round to.

        With `seed`, views come in random order, all but one are dropped now and then, images are augmented and weakly
        paired reports drawn, for each study by the seed and its own index alone: the same whoever it is batched with.
        """
        rows: list[int] = []
        views: list[int] = []
        draws: list[npt.NDArray[np.float64]] = []
        mask = torch.zeros(len(indices), self.max_views, dtype=torch.bool)
        chosen = [index % len(self) for index in indices]
        for n, (index, i) in enumerate(zip(indices, chosen, strict=True)):
            order = list(range(self.first[i + 1] - self.first[i]))
            if seed is not None:
                rng = np.random.default_rng((*seed, index))
                rng.shuffle(order)
                if rng.random() < self.view_dropout:
                    order = order[:1]
                draws.append(rng.uniform(-1.0, 1.0, (min(len(order), self.max_views), AMOUNTS)))
            order = order[: self.max_views]
            mask[n, : len(order)] = True
            rows += [int(self.first[i]) + k for k in order]
            views += [self.views[i][k] for k in order]
        words, facts = zip(*(self._words(index, seed) for index in indices), strict=True)
        tokens = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, words)), batch_first=True, padding_value=PAD)
        images = torch.as_tensor(self.images[rows])[:, None].float()
        boxes = [[float(n), *box] for n, row in enumerate(rows) for box in self.boxes[row]]
        return Batch(
            images,
            mask[:, : int(mask.sum(1).max())],  # where nobody has a view there is nothing to attend to
            torch.tensor(views),
            self.targets[chosen],
            self.attributes[chosen],
            tokens,
            torch.tensor(facts),
            torch.tensor(boxes).view(-1, 6),
            changes_of(np.concatenate(draws), self.augmentation) if draws and self._augmented else None,
        )

    def _words(self, index: int, seed: tuple[int, ...] | None) -> tuple[list[int], tuple[Fact, ...]]:
        """The tokens of a study and the facts that they say."""
        i = index % len(self)
        if seed is None:
            return self.tokens[i], self.facts[i]
        if self._composer:
            drawn = self._composer.draw(self.studies[i], *seed, index)
            return self._encode(drawn.sections), drawn.facts
        if np.random.default_rng((*seed, index, 1)).random() < self._place_dropout:
            return self.tokens[i], tuple(Fact(fact.assertion) for fact in self.facts[i])
        return self.tokens[i], self.facts[i]

    def _encode(self, text: Mapping[str, str]) -> list[int]:
        ids = self._tokenizer.encode(text)
        return [BOS, *ids, EOS][: self._limit] if ids else [BOS, PAD]

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[tuple[list[int], Batch]]:
        """Every `step`-th study from `first` on, in order and without augmentation: indices and batch."""
        indices = list(range(first, len(self), step))
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            yield part, self.batch(part)


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by another thread while the one before is in use."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield item
