"""Where lungs and heart lie in an image, for the places of findings and the width of the heart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from app.inference.chest import STRUCTURES

WORKING_SIZE = 128
"""Pixels a side of what the head looks at, whatever the encoder sees."""
MAP_SIZE = WORKING_SIZE // 2
"""Cells a side of its maps."""
WIDTHS = (16, 32, 48, 64)  # channels at 64, 32, 16 and 8 cells a side; multiples of 16 fit the processor's vectors


class NoAnatomyHead(nn.Module):
    """Stands in the head's stead until one is fitted: finds nothing anywhere."""

    def forward(self, images: Tensor) -> Tensor:
        """Images f32[B,1,S,S] to f32[B,1,1,1] of zeros: no exporter likes a tensor without elements."""
        return images[:, :, :1, :1] * 0.0


class AnatomyHead(nn.Module):
    """A narrow U-Net (Ronneberger et al. 2015, arXiv:1505.04597) whose shortcuts are added (LinkNet, arXiv:1707.03718)
    and whose last doubling of the resolution is a shuffle of channels (Shi et al. 2016, arXiv:1609.05158).

    It looks at the image itself, so that it goes with any encoder, and is fitted by `python -m model_training anatomy`
    once training is done.
    """

    def __init__(self, image_size: int) -> None:
        """`image_size` is the side S of the images; the weights do not depend on it."""
        super().__init__()
        self.size = WORKING_SIZE
        # Far larger images are averaged first: interpolation alone would skip pixels.
        self.reduce = nn.AvgPool2d(max(1, image_size // WORKING_SIZE))
        finest, fine, coarse, coarsest = WIDTHS
        self.to_half = _convolution(1, finest, 2)
        self.to_fine = _convolution(finest, fine, 2)
        self.to_coarse = nn.Sequential(_convolution(fine, coarse, 2), _convolution(coarse, coarse))
        self.to_coarsest = nn.Sequential(_convolution(coarse, coarsest, 2), _convolution(coarsest, coarsest))
        # What only the whole shows, such as which way is up, reaches every cell.
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(coarsest, coarsest, 1), nn.ReLU(inplace=True))
        self.from_coarsest = nn.Conv2d(coarsest, coarse, 1)
        self.refine_coarse = _convolution(coarse, coarse)
        self.from_coarse = nn.Conv2d(coarse, fine, 1)
        self.refine_fine = _convolution(fine, fine)
        self.read = nn.Sequential(nn.Conv2d(fine, 4 * len(STRUCTURES), 1), nn.PixelShuffle(2))

    def forward(self, images: Tensor) -> Tensor:
        """Images f32[B,1,S,S], as `preprocess` makes them, to logits f32[B,C,A,A] of `STRUCTURES` over the same square,
        A = `MAP_SIZE`."""
        x = _resized(self.reduce(images), self.size)
        fine = self.to_fine(self.to_half(x))
        coarse = self.to_coarse(fine)
        coarsest = self.to_coarsest(coarse)
        coarsest = coarsest + self.whole(coarsest)
        coarse = self.refine_coarse(coarse + _resized(self.from_coarsest(coarsest), self.size // 8))
        return self.read(self.refine_fine(fine + _resized(self.from_coarse(coarse), self.size // 4)))


def _resized(x: Tensor, size: int) -> Tensor:
    # What `F.interpolate` calls: scripted, its other branches have what OpenVINO cannot convert.
    return torch.ops.aten.upsample_bilinear2d(x, [size, size], False)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
