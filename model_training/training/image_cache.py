"""Images decoded and preprocessed once, into a memory-mapped file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from app.inference.preprocessing import to_unit_range
from model_training.data.images import for_every_image, read_image, refuse
from model_training.data.study import Study
from model_training.model.report_model import ReportModel


def cache_images(studies: Sequence[Study], model: ReportModel, folder: Path) -> npt.NDArray[np.float16]:
    """Every image of the studies, in order, preprocessed: float16[images,S,S], memory-mapped from a file in `folder`.

    The file is made once for a list of images and an image size, and reused afterwards. Raises
    `UnreadableImageError` that names the images which cannot be decoded.
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
        pixels = read_image(paths[i]).pixels
        with torch.inference_mode():
            cache[i] = model.preprocess(to_unit_range(pixels))[0].numpy()

    try:
        refuse(for_every_image(paths, prepare), len(paths))
        cache.flush()
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
