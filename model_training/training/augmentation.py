"""Random changes of training images, as small as those between two radiographs of one patient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model_training.config import AugmentationConfig

AMOUNTS = 6  # rotation, shift across, shift down, scale, brightness, contrast


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to each of B images: `affine` f32[B,2,3] takes places of the changed image to places of the original
    one, both in -1..1 from edge to edge (as `torch.nn.functional.affine_grid`); contrast and brightness f32[B]."""

    affine: Tensor
    contrast: Tensor
    brightness: Tensor

    def to(self, device: torch.device) -> Changes:
        """The same on another device."""
        return Changes(self.affine.to(device), self.contrast.to(device), self.brightness.to(device))


def changes_of(draws: np.ndarray[tuple[int, int], np.dtype[np.float64]], limits: AugmentationConfig) -> Changes:
    """Changes by `draws` f64[B,6], which lie in -1..1 and count in `limits`."""
    amounts = torch.from_numpy(draws).float().T
    angle = amounts[0] * math.radians(limits.rotation)
    across, down = amounts[1] * 2 * limits.shift, amounts[2] * 2 * limits.shift  # the side spans -1..1
    zoom = 1.0 / (1.0 + amounts[3] * limits.scale)
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    affine = torch.stack([cosine, -sine, across, sine, cosine, down], 1).view(-1, 2, 3)
    return Changes(affine, 1.0 + amounts[5] * limits.contrast, amounts[4] * limits.brightness)


def augment(images: Tensor, changes: Changes) -> Tensor:
    """Images f32[B,1,S,S], each changed as `changes` says, where they are."""
    grid = F.affine_grid(changes.affine, list(images.shape), align_corners=False)
    # What comes in from outside is as dark as preprocessing's own padding.
    darkest = images.amin((2, 3), keepdim=True)
    moved = F.grid_sample(images - darkest, grid, align_corners=False) + darkest
    return moved * changes.contrast.view(-1, 1, 1, 1) + changes.brightness.view(-1, 1, 1, 1)
