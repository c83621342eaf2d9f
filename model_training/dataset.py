"""From `Study` records to training batches: images decoded and preprocessed once into a memory-mapped cache."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.images.decode import decode_image
from app.inference.generator import to_unit_range
from app.inference.labeller import label_report
from app.inference.tokenizer import BOS, EOS, PAD, Tokenizer
from model_training.config import Config
from model_training.data.study import Study
from model_training.data.weak_pairing import WeakPairing
from model_training.mesh import label_mesh
from model_training.model.report_model import VIEW_NAMES, ReportModel
from model_training.progress import Progress
from model_training.training.augmentation import AMOUNTS, augment

IGNORED = -100
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Training input: images f32[B,1,S,S] of all views given, view mask bool[N,V], views i64[B] (-100 unknown),
    labels f32[N,F] (NaN unlabelled), tokens i64[N,T] with bos, eos and padding."""

    images: Tensor
    view_mask: Tensor
    views: Tensor
    labels: Tensor
    tokens: Tensor


def select_studies(studies: Sequence[Study], exclude: Collection[str]) -> tuple[list[Study], dict[str, int]]:
    """The studies to learn from, and how many are left out for what reason: held back by id, or without an image."""
    held_back = set(exclude)
    kept = [study for study in studies if study.id not in held_back and study.images]
    excluded = sum(study.id in held_back for study in studies)
    return kept, {"held back by data.exclude": excluded, "without an image": len(studies) - len(kept) - excluded}


def sections_of(study: Study) -> dict[str, str]:
    """The report as section name to text."""
    return {"findings": study.findings, "impression": study.impression}


def training_text(study: Study, config: Config) -> dict[str, str]:
    """The report the model is to write: the configured sections, cleaned by the text policy."""
    cleaned = sections_of(config.text.apply(study))
    return {name: cleaned[name] for name in config.data.sections}


def labels_of(study: Study, findings: Sequence[str]) -> list[float]:
    """1 present, 0 absent, NaN not labelled: from the source's labels, else its MeSH codes, else its text.

    Codes and text are those of the source: what the text policy takes out is still to be seen in the image.
    """
    if study.labels:
        given = dict(study.labels)
        return [float("nan") if given.get(name) is None else float(bool(given[name])) for name in findings]
    text = f"{study.findings} {study.impression}".strip()
    if not (study.mesh or text):
        return [math.nan] * len(findings)
    mentions = label_mesh(study.mesh) if study.mesh else label_report(text)
    return [float(name in mentions and mentions[name].status != "absent") for name in findings]


def cache_images(studies: Sequence[Study], model: ReportModel, folder: Path) -> npt.NDArray[np.float16]:
    """Every image of the studies, in order, preprocessed: float16[images,S,S], memory-mapped from a file in `folder`.

    The file is made once for a list of images and an image size, and reused afterwards.
    """
    paths = [image.path for study in studies for image in study.images]
    size = model.image_size
    key = hashlib.sha256(f"{size}".encode())
    for path in paths:
        stat = path.stat()
        key.update(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    file = folder / f"images-{size}-{key.hexdigest()[:16]}.npy"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _fill_cache(file, paths, model)
    cache: npt.NDArray[np.float16] = np.load(file, mmap_mode="r")
    return cache


def _fill_cache(file: Path, paths: Sequence[Path], model: ReportModel) -> None:
    size = model.image_size
    partial = file.with_suffix(".partial")
    cache = np.lib.format.open_memmap(partial, "w+", np.float16, (len(paths), size, size))

    def prepare(i: int) -> None:
        with torch.inference_mode():
            pixels = decode_image(paths[i].read_bytes()).pixels
            cache[i] = model.preprocess(to_unit_range(pixels))[0].numpy()

    with ThreadPoolExecutor() as pool, Progress("decode", len(paths), "image") as progress:
        for _ in pool.map(prepare, range(len(paths))):
            progress.advance()
    cache.flush()
    partial.replace(file)


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
        pairing: WeakPairing | None = None,
    ) -> None:
        """`texts` are the studies' `training_text`, `cache` is the folder for decoded images. Every study has images.

        With `pairing`, a batch with a seed has reports drawn by that seed in place of the texts. A study without text
        has no words to learn, not the words of an empty report.
        """
        self.studies, self.texts = list(studies), list(texts)
        self.max_views, self.view_dropout = config.data.max_views, config.training.view_dropout
        self.augmentation = config.augmentation
        self._augmented = any(config.as_dict()["augmentation"].values())
        self.images = cache_images(self.studies, model, cache)
        self.first = np.cumsum([0, *(len(study.images) for study in self.studies)])
        self.views = [
            [VIEW_NAMES.index(image.view) if image.view else IGNORED for image in study.images]
            for study in self.studies
        ]
        self.labels = torch.tensor([labels_of(study, config.data.findings) for study in self.studies])
        self._tokenizer, self._limit, self._pairing = tokenizer, 1 + config.model.max_new_tokens, pairing
        self.tokens = [self._encode(text) for text in self.texts]

    def __len__(self) -> int:
        return len(self.studies)

    def fingerprint(self) -> str:
        """Equal for the same studies with the same words, labels and numbers of images, wherever their files lie."""
        content = [[study.id, ids, len(study.images)] for study, ids in zip(self.studies, self.tokens, strict=True)]
        return hashlib.sha256(repr(content).encode() + self.labels.numpy().tobytes()).hexdigest()

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
        tokens = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(self._words(index, seed)) for index in indices], batch_first=True, padding_value=PAD
        )
        images = torch.from_numpy(self.images[rows].astype(np.float32))[:, None]
        if draws and self._augmented:
            images = augment(images, np.concatenate(draws), self.augmentation)
        return Batch(images, mask, torch.tensor(views), self.labels[chosen], tokens)

    def _words(self, index: int, seed: tuple[int, ...] | None) -> list[int]:
        i = index % len(self)
        if seed is None or self._pairing is None:
            return self.tokens[i]
        return self._encode(self._pairing.draw(self.studies[i], *seed, index))

    def _encode(self, text: Mapping[str, str]) -> list[int]:
        ids = self._tokenizer.encode(text)
        return [BOS, *ids, EOS][: self._limit] if ids else [BOS, PAD]

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[tuple[list[int], Batch]]:
        """Every `step`-th study from `first` on, in order and without augmentation: indices and batch."""
        indices = list(range(first, len(self), step))
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            yield part, self.batch(part)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by another thread while the one before is in use."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield item
