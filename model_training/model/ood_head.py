"""What the network says of an image before a word is written: is it a chest radiograph, inverted, turned?"""

from __future__ import annotations

from torch import Tensor, nn

from app.inference.ood import OUTPUTS


class NoOodHead(nn.Module):
    """Stands in the head's stead until one is fitted: has nothing to say of an image."""

    def forward(self, summary: Tensor) -> Tensor:
        """The encoder's summary f32[B,K] to f32[B,1] of zeros: no exporter likes a tensor without elements."""
        return summary[:, :1] * 0.0


class OodHead(nn.Module):
    """Linear readings of the encoder's summary, fitted by `python -m model_training intake` once training is done."""

    def __init__(self, channels: int) -> None:
        """`channels` is the width of the summary."""
        super().__init__()
        self.read = nn.Linear(channels, len(OUTPUTS))

    def forward(self, summary: Tensor) -> Tensor:
        """The encoder's summary f32[B,K] to the logits `OUTPUTS` f32[B,L]."""
        said: Tensor = self.read(summary)
        return said
