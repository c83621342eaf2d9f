"""What a checkpoint's intake makes of groups of images: chest films that must be accepted, others that must not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from app.images.decode import DecodeError, decode_image
from app.inference.checkpoint import Checkpoint, frozen_encode
from app.inference.encoder_output import EncoderOutput
from app.inference.preprocessing import to_unit_range
from model_training.evaluation.finding_scores import auroc
from model_training.metrics.agreement import FloatArray

BATCH = 8
Groups = Mapping[str, Sequence[Path]]


def score_acceptance(checkpoint: Checkpoint, films: Groups, others: Groups) -> dict[str, Any]:
    """For each group `images`, the share `accepted`, and whether they are `films`; over all, the `AUROC` of telling
    films from others. Empty for a checkpoint without an intake. An image that cannot be read is not accepted.
    """
    if not checkpoint.manifest.ood:
        return {}
    threshold = checkpoint.manifest.ood.thresholds.chest
    logits = {name: chest_logits(checkpoint, paths) for name, paths in {**films, **others}.items() if paths}
    rows = {
        name: {"images": len(said), "accepted": float((said >= threshold).mean()), "films": name in films}
        for name, said in logits.items()
    }
    pooled = np.concatenate(list(logits.values()))
    truth = np.concatenate([np.full(len(said), float(name in films)) for name, said in logits.items()])
    return {"groups": rows, "AUROC": float(auroc(pooled[:, None], truth[:, None])[0])}


@torch.inference_mode()
def chest_logits(checkpoint: Checkpoint, paths: Sequence[Path]) -> FloatArray:
    """The intake's logit [images] that an image is a chest radiograph; -inf where a file cannot be read."""
    encode, size = frozen_encode(checkpoint.module), checkpoint.manifest.image_size
    found: list[float] = []
    for start in tqdm(range(0, len(paths), BATCH), desc="intake", unit="batch"):
        views = torch.zeros(BATCH, 1, size, size)
        readable = []
        for i, path in enumerate(paths[start : start + BATCH]):
            try:
                pixels = decode_image(path.read_bytes(), network_size=size).pixels
            except (DecodeError, OSError):
                readable.append(False)
                continue
            views[i] = checkpoint.module.preprocess(to_unit_range(pixels))
            readable.append(True)
        encoded = EncoderOutput(*encode(views.contiguous(memory_format=torch.channels_last)))
        said = encoded.ood_logits[:, 0].tolist()
        found += [logit if seen else -np.inf for logit, seen in zip(said, readable, strict=False)]
    return np.array(found, dtype=np.float64)


def images_in(folder: Path) -> list[Path]:
    """The PNG and JPEG files of a folder. Raises ValueError when there is none."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not paths:
        raise ValueError(f"{folder} holds no PNG or JPEG files")
    return paths
