"""Random changes of training images, as small as those between two radiographs of one patient."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model_training.config import AugmentationConfig

AMOUNTS = 8  # rotation, shift across, shift down, scale, brightness, contrast, sharpness, kernel
# Interpolation, and whether it looks at all that it sums up: many collections were reduced without.
KERNELS = (("bilinear", True), ("bicubic", True), ("bilinear", False), ("bicubic", False), ("area", False))


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to each of B images: `affine` f32[B,2,3] takes places of the changed image to places of the original
    one, both in -1..1 from edge to edge (as `torch.nn.functional.affine_grid`); contrast and brightness f32[B]; the
    share of its detail that is kept, and the kernel of `KERNELS` it is reduced by."""

    affine: Tensor
    contrast: Tensor
    brightness: Tensor
    kept: tuple[float, ...]
    kernels: tuple[int, ...]

    def to(self, device: torch.device) -> Changes:
        """The same on another device."""
        return replace(
            self,
            affine=self.affine.to(device),
            contrast=self.contrast.to(device),
            brightness=self.brightness.to(device),
        )


def changes_of(draws: np.ndarray[tuple[int, int], np.dtype[np.float64]], limits: AugmentationConfig) -> Changes:
    """Changes by `draws` f64[B,8], which lie in -1..1 and count in `limits`."""
    amounts = torch.from_numpy(draws).float().T
    angle = amounts[0] * math.radians(limits.rotation)
    across, down = amounts[1] * 2 * limits.shift, amounts[2] * 2 * limits.shift  # the side spans -1..1
    zoom = 1.0 / (1.0 + amounts[3] * limits.scale)
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    affine = torch.stack([cosine, -sine, across, sine, cosine, down], 1).view(-1, 2, 3)
    kept = 1.0 - (amounts[6] + 1) / 2 * limits.sharpness
    kernels = ((amounts[7] + 1) / 2 * len(KERNELS)).long().clamp(max=len(KERNELS) - 1)
    return Changes(
        affine,
        1.0 + amounts[5] * limits.contrast,
        amounts[4] * limits.brightness,
        tuple(kept.tolist()) if limits.sharpness else (),
        tuple(kernels.tolist()),
    )


def augment(images: Tensor, changes: Changes) -> Tensor:
    """Images f32[B,1,S,S], each changed as `changes` says, where they are."""
    if changes.kept:
        images = torch.cat(list(map(_reduced, torch.split(images, 1), changes.kept, changes.kernels)))
    grid = F.affine_grid(changes.affine, list(images.shape), align_corners=False)
    # What comes in from outside is as dark as preprocessing's own padding.
    darkest = images.amin((2, 3), keepdim=True)
    moved = F.grid_sample(images - darkest, grid, align_corners=False) + darkest
    return moved * changes.contrast.view(-1, 1, 1, 1) + changes.brightness.view(-1, 1, 1, 1)


def _reduced(image: Tensor, kept: float, kernel: int) -> Tensor:
    """An image f32[1,1,S,S] that has lost detail."""
    side = image.shape[-1]
    mode, antialias = KERNELS[kernel]
    corners = None if mode == "area" else False
    small = F.interpolate(
        image, [max(1, round(side * kept))] * 2, mode=mode, antialias=antialias, align_corners=corners
    )
    return F.interpolate(small, [side, side], mode="bilinear", align_corners=False)
