"""Images decoded and preprocessed once, into a memory-mapped file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from app.images.decode import decode_image
from app.inference.preprocessing import to_unit_range
from model_training.data.study import Study
from model_training.model.report_model import ReportModel
from model_training.progress import Progress


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
