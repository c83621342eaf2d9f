"""What the network says of an image before a word is written: is it a chest radiograph, inverted, turned?"""

from __future__ import annotations

from torch import Tensor, nn

from app.inference.acceptance import OUTPUTS


class Summary(nn.Module):
    """What an intake looks at."""

    def forward(self, features: Tensor) -> Tensor:
        """Features f32[B,P,C] to their mean over positions f32[B,C]."""
        return features.mean(1)


class NoIntake(nn.Module):
    """Stands in the intake's place until one is fitted: has nothing to say of an image."""

    def forward(self, features: Tensor) -> Tensor:
        """Features f32[B,P,C] to f32[B,1] of zeros: no exporter of networks likes a tensor without elements."""
        return features[:, :1, 0] * 0.0


class IntakeHead(nn.Module):
    """Linear readings of the encoder's features, fitted by `python -m model_training intake` once training is done."""

    def __init__(self, channels: int) -> None:
        """`channels` is the encoder's output width."""
        super().__init__()
        self.summary = Summary()
        self.read = nn.Linear(channels, len(OUTPUTS))

    def forward(self, features: Tensor) -> Tensor:
        """Features f32[B,P,C] to the logits `OUTPUTS` f32[B,K]."""
        said: Tensor = self.read(self.summary(features))
        return said
