"""From `Study` records to training batches: images decoded and preprocessed once into a memory-mapped cache."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from app.images.decode import decode_image
from app.inference.preprocessing import to_unit_range
from app.text.labeller import label_report
from app.text.tokenizer import BOS, EOS, PAD, Tokenizer
from model_training.config import Config, DataConfig
from model_training.data.mesh import label_mesh
from model_training.data.pairing.weak_pairing import WeakPairing
from model_training.data.study import Study, StudyImage
from model_training.model.report_model import VIEW_NAMES, ReportModel
from model_training.progress import Progress
from model_training.training.augmentation import AMOUNTS, Changes, augment, changes_of

IGNORED = -100
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Training input: images f32[B,1,S,S] of all views given, view mask bool[N,V], views i64[B] (-100 unknown),
    labels f32[N,F] (a probability where a teacher gave it, NaN unlabelled), tokens i64[N,T] with bos, eos and padding,
    and the stances f32[N,F] that the words follow: 1 stated, -1 denied, 0 passed over.

    `boxes` f32[K,6] say where findings lie: row of the image, finding, left, top, right, bottom in -1..1 from edge to
    edge of the image before `changes`, which are still to be made (`on_device`).
    """

    images: Tensor
    view_mask: Tensor
    views: Tensor
    labels: Tensor
    tokens: Tensor
    stances: Tensor
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
            self.tokens.to(device),
            self.stances.to(device),
            self.boxes.to(device),
            changes,
        )


def select_studies(studies: Sequence[Study], data: DataConfig) -> tuple[list[Study], dict[str, int]]:
    """The studies to learn from, and how many are left out for what reason: held back by id, of another source than
    those named, or without an image."""
    kept: list[Study] = []
    excluded = data.excluded
    left_out = {"held back by data.exclude": 0, "without an image": 0}
    if data.sources:
        left_out["of another source"] = 0
    for study in studies:
        if study.id in excluded:
            left_out["held back by data.exclude"] += 1
        elif data.sources and study.source not in data.sources:
            left_out["of another source"] += 1
        elif not study.images:
            left_out["without an image"] += 1
        else:
            kept.append(study)
    return kept, left_out


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


def stances_of(study: Study, findings: Sequence[str]) -> list[float]:
    """1 where the study has the finding, -1 where it has not or is called normal, 0 where nobody says."""
    unknown = -1.0 if dict(study.labels).get("normal") else 0.0
    return [unknown if math.isnan(label) else 2 * label - 1 for label in labels_of(study, findings)]


def hide_labels(study: Study, share: float, rng: np.random.Generator) -> Study:
    """Every other study with up to `share` of its labels not given, as if nobody had looked for those findings: how a
    report passes over what the model is unsure of is learnt from it. With a label hidden nothing is called normal."""
    if rng.random() < 0.5:
        return study
    hidden = rng.random(len(study.labels)) < share * rng.random()
    labels = [(name, None if gone else value) for (name, value), gone in zip(study.labels, hidden, strict=True)]
    if hidden.any():
        labels = [(name, None if name == "normal" else value) for name, value in labels]
    return dataclasses.replace(study, labels=tuple(labels))


def places_of(image: StudyImage, findings: Sequence[str]) -> list[list[float]]:
    """The image's boxes of these findings as index, left, top, right, bottom in -1..1 over the square that
    preprocessing pads it to."""
    with Image.open(image.path) as file:
        size = np.array(file.size)
    half = size / size.max()
    found = []
    for box in image.boxes:
        if box.finding in findings:
            centre, extent = (np.array([box.x, box.y]) * 2 - 1) * half, np.array([box.width, box.height]) * half
            found.append([float(findings.index(box.finding)), *(centre - extent), *(centre + extent)])
    return found


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
        self._hiding = config.training.hiding if config.data.reports else 0.0
        self.images: npt.NDArray[np.float16] | Tensor = cache_images(self.studies, model, cache)
        self.first = np.cumsum([0, *(len(study.images) for study in self.studies)])
        self.views = [
            [VIEW_NAMES.index(image.view) if image.view else IGNORED for image in study.images]
            for study in self.studies
        ]
        self._findings = config.data.findings
        self.labels = torch.tensor([labels_of(study, self._findings) for study in self.studies])
        self.targets = self.labels
        self.boxes = [
            places_of(image, self._findings) if image.boxes else [] for study in self.studies for image in study.images
        ]
        self._tokenizer, self._limit, self._pairing = tokenizer, 1 + config.model.max_new_tokens, pairing
        self.tokens = [self._encode(text) for text in self.texts]

    def __len__(self) -> int:
        return len(self.studies)

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
        words, stances = zip(*(self._words(index, seed) for index in indices), strict=True)
        tokens = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, words)), batch_first=True, padding_value=PAD)
        images = torch.as_tensor(self.images[rows])[:, None].float()
        boxes = [[float(n), *box] for n, row in enumerate(rows) for box in self.boxes[row]]
        return Batch(
            images,
            mask[:, : int(mask.sum(1).max())],  # where nobody has a view there is nothing to attend to
            torch.tensor(views),
            self.targets[chosen],
            tokens,
            torch.tensor(stances),
            torch.tensor(boxes).view(-1, 6),
            changes_of(np.concatenate(draws), self.augmentation) if draws and self._augmented else None,
        )

    def _words(self, index: int, seed: tuple[int, ...] | None) -> tuple[list[int], list[float]]:
        """The tokens of a study and the stances they follow."""
        study, i = self.studies[index % len(self)], index % len(self)
        if seed is None or self._pairing is None:
            return self.tokens[i], stances_of(study, self._findings)
        study = hide_labels(study, self._hiding, np.random.default_rng((*seed, index, 1)))
        return self._encode(self._pairing.draw(study, *seed, index)), stances_of(study, self._findings)

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
