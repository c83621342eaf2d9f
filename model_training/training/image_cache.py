"""Images decoded and preprocessed once, into memory-mapped files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from app.inference.preprocessing import to_unit_range
from model_training.data.images import for_every_image, read_image, refuse
from model_training.data.study import Study
from model_training.model.report_model import ReportModel

_DECODING = 2  # counts the changes of what decoding makes of a file


class ImageCache(NamedTuple):
    """Images float16[N,S,S] as the network sees them, and int32[N,6]: width and height of the file, and what is seen of
    it: left, top, right, bottom."""

    images: npt.NDArray[np.float16]
    regions: npt.NDArray[np.int32]


def cache_images(studies: Sequence[Study], model: ReportModel, folder: Path) -> ImageCache:
    """Every image of the studies, in order, preprocessed: memory-mapped from files in `folder`.

    They are made once for a list of images, their size and detail, and reused afterwards. Raises `UnreadableImageError`
    that names the images which cannot be decoded.
    """
    paths = [image.path for study in studies for image in study.images]
    size = model.image_size
    key = hashlib.sha256(f"{size} {model.detail} {_DECODING}".encode())
    for path in paths:
        stat = path.stat()
        key.update(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    file = folder / f"images-{size}-{key.hexdigest()[:16]}.npy"
    regions = file.with_suffix(".regions.npy")
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _fill_cache(file, regions, paths, model)
    return ImageCache(np.load(file, mmap_mode="r"), np.load(regions))


def _fill_cache(file: Path, regions_file: Path, paths: Sequence[Path], model: ReportModel) -> None:
    size = model.image_size
    partial = file.with_suffix(".partial")
    cache = np.lib.format.open_memmap(partial, "w+", np.float16, (len(paths), size, size))
    regions = np.zeros((len(paths), 6), np.int32)

    def prepare(i: int) -> None:
        decoded = read_image(paths[i])
        with torch.inference_mode():
            cache[i] = model.preprocess(to_unit_range(decoded.pixels))[0].numpy()
        regions[i] = (decoded.width, decoded.height, *decoded.region)

    try:
        refuse(for_every_image(paths, prepare), len(paths))
        cache.flush()
        np.save(regions_file, regions)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
