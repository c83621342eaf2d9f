"""Image encoders: a batch of single-channel images to a grid of features. Every one compiles to TorchScript."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from model_training.data.files import reading
from model_training.model.clip import TOWERS, ClipTower, build_tower
from model_training.model.weights import fetching, read_tensors


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


def small_resnet(widths: Sequence[int], blocks: int) -> nn.Sequential:
    """A narrow ResNet for training from nothing on a CPU."""
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
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Convolutional layers, read out position by position, and summed up layer by layer."""

    def __init__(self, layers: nn.Sequential, first_centre: float = 0.5, stride: int = 32) -> None:
        """`first_centre` is the middle of what the first position sees, `stride` how far positions lie apart, in
        pixels.

        Padded convolutions of odd size that stride by 2 centre each position on the first pixel of its cell, not on
        the cell; only even ones without padding move it. In pixels from the edge.
        """
        super().__init__()
        self.layers = layers
        self.stride = stride
        self.first_centre = first_centre
        widths = _widths(layers)
        self.channels, self.summary_channels = widths[-1], sum(widths)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """f32[B,1,S,S] to features f32[B,P,C], P = (S/stride)² positions in reading order, and to a summary f32[B,K] of
        the images: the mean over positions of what each layer gives."""
        means: list[Tensor] = []
        for layer in self.layers:
            images = layer(images)
            means.append(images.mean([2, 3]))
        return images.flatten(2).transpose(1, 2), torch.cat(means, 1)


@torch.no_grad()
def _widths(layers: nn.Sequential) -> list[int]:
    """Channels that each layer gives."""
    training = [module for module in layers.modules() if module.training]
    layers.eval()  # its batch norms are not to learn from this
    image, widths = torch.zeros(1, 1, 64, 64), []
    for layer in layers:
        image = layer(image)
        widths.append(image.shape[1])
    for module in training:
        module.training = True
    return widths


def first_layers(encoder: nn.Module, count: int) -> list[nn.Module]:
    """The layers that images go through first. Raises ValueError when the encoder has not that many in a row."""
    layers = list(encoder.get_submodule("layers").children()) if count else []
    if count > len(layers):
        raise ValueError(f"training.frozen_layers: the encoder has {len(layers)} layers in a row, not {count}")
    return layers[:count]


def _resnet_layers(net: Any) -> nn.Sequential:
    return nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4)


def _densenet_layers(net: Any) -> nn.Sequential:
    return nn.Sequential(net.features, nn.ReLU(inplace=True))


def _feature_layers(net: Any) -> nn.Sequential:
    layers: nn.Sequential = net.features
    return layers


# Name to torchvision's builder, how its convolutional part is taken out, the middle of what its first position sees.
TORCHVISION: Mapping[str, tuple[str, Callable[[Any], nn.Sequential], float]] = {
    "resnet-18": ("resnet18", _resnet_layers, 0.5),
    "resnet-34": ("resnet34", _resnet_layers, 0.5),
    "resnet-50": ("resnet50", _resnet_layers, 0.5),
    "resnet-101": ("resnet101", _resnet_layers, 0.5),
    "densenet-121": ("densenet121", _densenet_layers, 14.5),
    "mobilenet-v2": ("mobilenet_v2", _feature_layers, 0.5),
    "mobilenet-v3": ("mobilenet_v3_large", _feature_layers, 0.5),
    "efficientnet-v2-s": ("efficientnet_v2_s", _feature_layers, 0.5),
    "convnext-t": ("convnext_tiny", _feature_layers, 16.0),
}
SMALL: Mapping[str, tuple[tuple[int, ...], int]] = {
    "resnet-small": ((24, 48, 96, 192), 2),
    "resnet-tiny": ((16, 16, 16, 16), 1),  # never fewer than 16 channels: oneDNN issue 6035
}
FINE = 16
ENCODERS = (*SMALL, *TORCHVISION)


def build_encoder(name: str, weights: str = "", stride: int = 32, deviation: float = 1.0) -> Encoder | ClipTower:
    """An encoder by name, from nothing or from `weights`: a torchvision weights name ("IMAGENET1K_V1", downloaded) or
    the path of a state dict of the whole torchvision network. With `stride` 16 a network, but for image towers, is as
    fine as before its last reduction (`dilate`).

    The first convolution of three-channel weights is summed over colours: it then answers to a grey image as it would
    to the same image in three equal channels. Images come with a standard deviation of 1; `deviation` is that of those
    that torchvision's weights in a file learnt from. Raises ValueError for unknown names and weights that do not fit.
    """
    if stride == FINE and name not in (*SMALL, *TORCHVISION):
        raise ValueError(f"encoder {name!r} has no output stride of {stride}")
    if name in SMALL:
        if weights:
            raise ValueError(f"encoder {name!r} has no pretrained weights")
        widths, blocks = SMALL[name]
        small = small_resnet(widths, blocks)
        if stride == FINE:
            dilate(small)
        return Encoder(small, stride=stride)
    if name in TOWERS:
        return build_tower(name, weights)
    if name not in TORCHVISION:
        raise ValueError(f"unknown encoder {name!r}; known: {', '.join((*ENCODERS, *TOWERS))}")
    import torchvision  # takes seconds, which networks that need none of it are spared

    builder, take, first_centre = TORCHVISION[name]
    from_file = weights if weights and Path(weights).suffix else ""
    with fetching(weights if not from_file else "", name):
        net = torchvision.models.get_model(builder, weights=None if from_file else weights or None)
    if from_file:
        load_weights(net, Path(from_file))
    layers = take(net)
    to_single_channel(layers, deviation)
    if stride == FINE:
        dilate(layers)
    return Encoder(layers, first_centre, stride)


def dilate(layers: nn.Sequential) -> None:
    """Takes the last reduction out of a network, in place: convolutions behind it reach twice as far instead, so that
    its weights still fit (Chen et al., DeepLab, arXiv:1606.00915). Raises ValueError where it is no convolution."""
    convolutions = [(i, conv) for i, layer in enumerate(layers) for conv in layer.modules() if _is_conv(conv)]
    strided = [i for i, conv in convolutions if conv.stride == (2, 2)]
    pooled = [i for i, layer in enumerate(layers) for m in layer.modules() if isinstance(m, nn.AvgPool2d)]
    if not strided or (pooled and max(pooled) >= max(strided)):
        raise ValueError("model.output_stride: the encoder's last reduction is no convolution")
    reducing, behind = max(strided), False
    for i, conv in convolutions:
        if i == reducing and conv.stride == (2, 2):
            conv.stride, behind = (1, 1), True
        elif behind and conv.kernel_size != (1, 1):
            conv.dilation = (2, 2)
            conv.padding = tuple(2 * int(size) for size in conv.padding)


def _is_conv(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(module, nn.Conv2d)


def load_weights(net: nn.Module, path: Path) -> None:
    """Fills a network from a state-dict file of any floating type; a classifier of another shape may differ.

    Raises ValueError naming the first tensors that are missing or foreign.
    """
    given = read_tensors(path)
    with reading(path, "no dictionary of tensors"):
        state = {name: tensor.float() for name, tensor in given.items()}
    own = net.state_dict()
    classifier = [name for name, tensor in state.items() if name in own and own[name].shape != tensor.shape]
    for name in classifier:
        del state[name]
    missing, foreign = net.load_state_dict(state, strict=False)
    wrong = [
        n for n in (*missing, *foreign, *classifier) if not n.startswith(("fc.", "classifier", "heads"))
        and not n.endswith("num_batches_tracked")
    ]  # fmt: skip
    if wrong:
        raise ValueError(f"{path} does not fit: {', '.join(wrong[:5])}")


def to_single_channel(layers: nn.Module, deviation: float) -> None:
    """Replaces the first convolution, of three channels, by one of a single channel of so much greater a deviation, in
    place."""
    for parent in layers.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d):
                single = nn.Conv2d(
                    1,
                    child.out_channels,
                    child.kernel_size,  # type: ignore[arg-type]  # torch types the attribute wider than the argument
                    child.stride,  # type: ignore[arg-type]  # the same
                    child.padding,  # type: ignore[arg-type]  # the same
                    bias=child.bias is not None,
                )
                with torch.no_grad():
                    single.weight.copy_(child.weight.sum(1, keepdim=True) * deviation)
                    if child.bias is not None and single.bias is not None:
                        single.bias.copy_(child.bias)
                setattr(parent, name, single)
                return
