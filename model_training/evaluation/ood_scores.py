"""How a checkpoint tells chest films, which must be accepted, from other images, which must not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from app.images.decode import decode_image
from app.images.errors import DecodeError
from app.inference.checkpoint import Checkpoint, frozen_encode
from app.inference.encoder_output import EncoderOutput
from app.inference.preprocessing import to_unit_range
from model_training.metrics.agreement import FloatArray
from model_training.metrics.ranking import auroc

BATCH = 8
Groups = Mapping[str, Sequence[Path]]


@dataclass(frozen=True, slots=True)
class OodGroup:
    """Images of one sort: how many, the share accepted, and whether they are chest films."""

    images: int
    accepted: float
    films: bool


@dataclass(frozen=True, slots=True)
class OodScores:
    """The groups by name, and over all images the AUROC of telling films from others; NaN without both."""

    groups: dict[str, OodGroup]
    auroc: float


def score_ood(checkpoint: Checkpoint, films: Groups, others: Groups) -> OodScores | None:
    """None for a checkpoint that cannot tell. An image that cannot be read is not accepted."""
    if not checkpoint.manifest.ood:
        return None
    threshold = checkpoint.manifest.ood.thresholds.chest
    logits = {name: chest_logits(checkpoint, paths) for name, paths in {**films, **others}.items() if paths}
    rows = {
        name: OodGroup(len(said), float((said >= threshold).mean()), name in films) for name, said in logits.items()
    }
    pooled = np.concatenate(list(logits.values()))
    truth = np.concatenate([np.full(len(said), float(name in films)) for name, said in logits.items()])
    return OodScores(rows, float(auroc(np.nan_to_num(pooled)[:, None], truth[:, None])[0]))


@torch.inference_mode()
def chest_logits(checkpoint: Checkpoint, paths: Sequence[Path]) -> FloatArray:
    """The logit [images] that an image is a chest radiograph; -inf where a file cannot be read."""
    encode, size = frozen_encode(checkpoint.module), checkpoint.manifest.image_size
    device = next(checkpoint.module.parameters()).device  # where the generator that serves it has put it
    found: list[float] = []
    for start in tqdm(range(0, len(paths), BATCH), desc="ood", unit="batch"):
        views = torch.zeros(BATCH, 1, size, size, device=device)
        readable = []
        for i, path in enumerate(paths[start : start + BATCH]):
            try:
                pixels = decode_image(path.read_bytes(), network_size=size).pixels
            except (DecodeError, OSError):
                readable.append(False)
                continue
            views[i] = checkpoint.module.preprocess(to_unit_range(pixels).to(device))
            readable.append(True)
        encoded = EncoderOutput(*encode(views.contiguous(memory_format=torch.channels_last)))
        said = encoded.ood_logits[:, 0].tolist()
        found += [logit if seen else -np.inf for logit, seen in zip(said, readable, strict=False)]
    return np.array(found, dtype=np.float64)


def named_images(text: str) -> tuple[str, list[Path]]:
    """NAME=FOLDER as the name and the images of the folder. Raises ValueError and OSError."""
    name, _, folder = text.partition("=")
    return name, images_in(Path(folder))


def images_in(folder: Path) -> list[Path]:
    """The PNG and JPEG files of a folder. Raises ValueError when there is none."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not paths:
        raise ValueError(f"{folder} holds no PNG or JPEG files")
    return paths
