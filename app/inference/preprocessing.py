"""Pixels as an archive's `preprocess` takes them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from app.inference.served_model import Image


def to_unit_range(image: Image) -> Tensor:
    """Pixels [H,W] as f32 in 0..1: uint8 and uint16 by their full range, float32 as it is."""
    pixels = torch.from_numpy(np.ascontiguousarray(image))
    if pixels.dtype == torch.float32:
        return pixels
    return pixels.float() / torch.iinfo(pixels.dtype).max
