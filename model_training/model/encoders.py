"""Image encoders: a batch of single-channel images to a grid of features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut (He et al. 2016, arXiv:1512.03385, basic block)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """f32[B,C,H,W] to f32[B,C',H/stride,W/stride]."""
        out: Tensor = self.relu(self.branch(x) + self.shortcut(x))
        return out


class SmallResNet(nn.Module):
    """A narrow ResNet for training from nothing on a CPU. Output stride 32."""

    def __init__(self, widths: Sequence[int] = (24, 48, 96, 192), blocks: int = 2) -> None:
        super().__init__()
        self.channels = widths[-1]
        layers: list[nn.Module] = [
            nn.Conv2d(1, widths[0], 7, 2, padding=3, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(ResidualBlock(inputs, width, 2 if stage and not block else 1))
                inputs = width
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """f32[B,1,S,S] to f32[B,P,C], P = (S/32)² positions in reading order."""
        out: Tensor = self.layers(images).flatten(2).transpose(1, 2)
        return out


def build_encoder(name: str) -> nn.Module:
    """An encoder by name, with its output width as `channels`. Raises ValueError naming the known ones."""
    match name:
        case "resnet-small":
            return SmallResNet()
        case "resnet-tiny":
            return SmallResNet(widths=(8, 8, 16, 16), blocks=1)
    raise ValueError(f"unknown encoder {name!r}; known: resnet-small, resnet-tiny")
