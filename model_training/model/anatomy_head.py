"""Where lungs and heart lie in an image, for the places of findings and the width of the heart."""

from __future__ import annotations

from torch import Tensor, nn


class NoAnatomyHead(nn.Module):
    """Stands in the head's stead until one is fitted: finds nothing anywhere."""

    def forward(self, images: Tensor) -> Tensor:
        """Images f32[B,1,S,S] to f32[B,1,1,1] of zeros: no exporter likes a tensor without elements."""
        return images[:, :, :1, :1] * 0.0
