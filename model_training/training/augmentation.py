"""Random changes of training images, as small as those between two radiographs of one patient."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model_training.config import AugmentationConfig

AMOUNTS = 6  # rotation, shift across, shift down, scale, brightness, contrast


def augment(
    images: Tensor, draws: np.ndarray[tuple[int, int], np.dtype[np.float64]], limits: AugmentationConfig
) -> Tensor:
    """Images f32[B,1,S,S], each changed by its own `draws` f64[B,6], which lie in -1..1 and count in `limits`."""
    amounts = torch.from_numpy(draws).float().T
    angle = amounts[0] * math.radians(limits.rotation)
    across, down = amounts[1] * 2 * limits.shift, amounts[2] * 2 * limits.shift  # the side spans -1..1
    zoom = 1.0 / (1.0 + amounts[3] * limits.scale)
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    matrix = torch.stack([cosine, -sine, across, sine, cosine, down], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    # What comes in from outside is as dark as preprocessing's own padding.
    darkest = images.amin((2, 3), keepdim=True)
    moved = F.grid_sample(images - darkest, grid, align_corners=False) + darkest
    brightness, contrast = amounts[4] * limits.brightness, 1.0 + amounts[5] * limits.contrast
    return moved * contrast.view(-1, 1, 1, 1) + brightness.view(-1, 1, 1, 1)
