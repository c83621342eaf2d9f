"""From `Study` records to training batches: images decoded and preprocessed once into a memory-mapped cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from app.images.decode import decode_image
from app.inference.generator import to_unit_range
from app.inference.tokenizer import BOS, EOS, PAD, Tokenizer
from model_training.config import Config
from model_training.data.study import Study
from model_training.labeller import label_mesh, label_report
from model_training.model.report_model import VIEW_NAMES, ReportModel

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Batch:
    """Training input: images f32[B,1,S,S] of all views given, view mask bool[N,V], views i64[B] (-100 unknown),
    labels f32[N,F] (NaN unlabelled), tokens i64[N,T] with bos, eos and padding."""

    images: Tensor
    view_mask: Tensor
    views: Tensor
    labels: Tensor
    tokens: Tensor


def sections_of(study: Study) -> dict[str, str]:
    """The report as section name to text."""
    return {"findings": study.findings, "impression": study.impression}


def labels_of(study: Study, findings: Sequence[str]) -> list[float]:
    """1 present, 0 absent, NaN not labelled: from the source's labels, else its MeSH codes, else its text."""
    if study.labels:
        given = dict(study.labels)
        return [float("nan") if given.get(name) is None else float(bool(given[name])) for name in findings]
    mentions = label_mesh(study.mesh) if study.mesh else label_report(f"{study.findings} {study.impression}")
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

    with ThreadPoolExecutor() as pool:
        for _ in tqdm(pool.map(prepare, range(len(paths))), total=len(paths), desc="decode", unit="image"):
            pass
    cache.flush()
    partial.replace(file)


class Examples:
    """The studies of one split, ready to be batched."""

    def __init__(
        self, studies: Sequence[Study], tokenizer: Tokenizer, config: Config, model: ReportModel, cache: Path
    ) -> None:
        """`cache` is the folder for decoded images. Studies without images are left out by the caller."""
        self.studies = list(studies)
        self.max_views = config.data.max_views
        self.images = cache_images(self.studies, model, cache)
        counts = [len(study.images) for study in self.studies]
        self.first = np.cumsum([0, *counts])
        self.views = [
            [VIEW_NAMES.index(image.view) if image.view else IGNORED for image in study.images]
            for study in self.studies
        ]
        self.labels = torch.tensor([labels_of(study, config.data.findings) for study in self.studies])
        limit = 1 + config.model.max_new_tokens
        self.tokens = [
            [BOS, *tokenizer.encode({s: sections_of(study).get(s, "") for s in config.data.sections}), EOS][:limit]
            for study in self.studies
        ]

    def __len__(self) -> int:
        return len(self.studies)

    def batch(self, indices: Sequence[int], rng: np.random.Generator | None = None, view_dropout: float = 0.0) -> Batch:
        """Gathers studies. With `rng`, views come in random order and all but one are dropped now and then."""
        rows: list[int] = []
        views: list[int] = []
        mask = torch.zeros(len(indices), self.max_views, dtype=torch.bool)
        for n, i in enumerate(indices):
            order = list(range(self.first[i + 1] - self.first[i]))
            if rng is not None:
                rng.shuffle(order)
                if rng.random() < view_dropout:
                    order = order[:1]
            order = order[: self.max_views]
            mask[n, : len(order)] = True
            rows += [int(self.first[i]) + k for k in order]
            views += [self.views[i][k] for k in order]
        tokens = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(self.tokens[i]) for i in indices], batch_first=True, padding_value=PAD
        )
        images = torch.from_numpy(self.images[rows].astype(np.float32))[:, None]
        return Batch(images, mask, torch.tensor(views), self.labels[list(indices)], tokens)

    def batches(self, size: int) -> Iterator[Batch]:
        """All studies in order, without augmentation."""
        for start in range(0, len(self), size):
            yield self.batch(range(start, min(start + size, len(self))))
