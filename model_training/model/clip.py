"""The image towers of CLIP, which describe an image patch by patch (Radford et al. 2021, arXiv:2103.00020).

Parameters are named as in open_clip (Ilharco et al. 2021, doi 10.5281/zenodo.5143773), whose weights they take; the
code is our own because open_clip's does not compile to TorchScript.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_training.model.weights import fetching, read_tensors

# Name to open_clip's architecture, patch side, width, layers, heads, and side of the grid of the weights' positions.
TOWERS: Mapping[str, tuple[str, int, int, int, int, int]] = {
    "clip-vit-b-32": ("ViT-B-32", 32, 768, 12, 12, 7),
    "clip-vit-b-32-quickgelu": ("ViT-B-32-quickgelu", 32, 768, 12, 12, 7),
    "clip-vit-b-16": ("ViT-B-16", 16, 768, 12, 12, 14),
    "clip-vit-b-16-quickgelu": ("ViT-B-16-quickgelu", 16, 768, 12, 12, 14),
    "clip-vit-l-14": ("ViT-L-14", 14, 1024, 24, 16, 16),
    "clip-vit-l-14-quickgelu": ("ViT-L-14-quickgelu", 14, 1024, 24, 16, 16),
}


class QuickGELU(nn.Module):
    """The approximation of GELU that OpenAI trained CLIP with."""

    def forward(self, x: Tensor) -> Tensor:
        """x · sigmoid(1.702 x)."""
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Self-attention with `nn.MultiheadAttention`'s parameters, and without its code paths."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:
        """f32[B,P,C] to the same."""
        parts = F.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        return self.out_proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, width: int, heads: int, activation: nn.Module) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", activation)
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """f32[B,P,C] to the same."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Blocks(nn.Module):
    """One block after the other."""

    def __init__(self, width: int, layers: int, heads: int, quick: bool) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(
            *(Block(width, heads, QuickGELU() if quick else nn.GELU()) for _ in range(layers))
        )

    def forward(self, x: Tensor) -> Tensor:
        """f32[B,P,C] to the same."""
        return self.resblocks(x)


class ClipTower(nn.Module):
    """The vision transformer of CLIP up to its last patch features; images of any size."""

    def __init__(self, patch: int, width: int, layers: int, heads: int, grid: int, *, quick: bool = False) -> None:
        """`grid` is the number of patches a side at which positions are stored, `quick` chooses QuickGELU."""
        super().__init__()
        self.channels = self.summary_channels = width
        self.stride = patch
        self.first_centre = patch / 2  # a patch is seen from its middle
        self.grid = grid
        self.conv1 = nn.Conv2d(1, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(grid * grid + 1, width) * width**-0.5)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Blocks(width, layers, heads, quick)
        self.ln_post = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """f32[B,1,S,S] to features f32[B,P,C], P = (S/patch)² in reading order, and to their mean f32[B,C]."""
        features = self.conv1(images)
        rows, columns = features.shape[2], features.shape[3]
        x = features.flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], 1)
        x = x + self.positions(rows, columns).to(x.dtype)
        features = self.ln_post(self.transformer(self.ln_pre(x)))[:, 1:]
        return features, features.mean(1)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Position embeddings f32[1+rows·columns,C]: those stored, or drawn between them for another size of image."""
        if rows == self.grid and columns == self.grid:
            return self.positional_embedding
        stored = self.positional_embedding[1:].unflatten(0, (self.grid, self.grid)).permute(2, 0, 1)[None]
        between = F.interpolate(stored, [rows, columns], mode="bicubic", align_corners=False, antialias=True)
        return torch.cat([self.positional_embedding[:1], between[0].flatten(1).T])

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes the weights of open_clip's tower, the first convolution summed over colours.

        Raises ValueError naming the first tensors that are missing, foreign or of another shape.
        """
        state = {
            name: tensor.float() for name, tensor in state.items() if name != "proj" and isinstance(tensor, Tensor)
        }
        if "conv1.weight" in state:
            state["conv1.weight"] = state["conv1.weight"].sum(1, keepdim=True)
        own = self.state_dict()
        wrong = [name for name in sorted({*own, *state}) if name not in own or name not in state]
        wrong += [name for name in own if name in state and own[name].shape != state[name].shape]
        if wrong:
            raise ValueError(f"the weights do not fit the tower: {', '.join(wrong[:5])}")
        self.load_state_dict(state)


def build_tower(name: str, weights: str = "") -> ClipTower:
    """A tower of `TOWERS`, from nothing or from `weights`: a name that open_clip knows for the architecture ("openai",
    "laion2b_s34b_b79k"; downloaded, needs the extra "clip"), or the path of a state dict, of the tower or all of CLIP.

    Raises ValueError for weights that do not fit and ImportError without the extra.
    """
    architecture, patch, width, layers, heads, grid = TOWERS[name]
    tower = ClipTower(patch, width, layers, heads, grid, quick=name.endswith("quickgelu"))
    if not weights:
        return tower
    if Path(weights).suffix:
        state = read_tensors(Path(weights))
        inside = {key.removeprefix("visual."): tensor for key, tensor in state.items() if key.startswith("visual.")}
        tower.load(inside or state)
        return tower
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(f'{name} by the name of its weights needs the extra "clip": {error}') from error
    known = open_clip.get_pretrained_cfg(architecture, weights)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture))
        raise ValueError(f"{name} has no weights {weights!r}; known: {tags}")
    if bool(known.get("quick_gelu")) != name.endswith("quickgelu"):
        raise ValueError(f"the weights {weights!r} are for the other activation: {name} with or without -quickgelu")
    with fetching(weights, name):
        fetched = open_clip.create_model(architecture, pretrained=weights)
    tower.load(fetched.visual.state_dict())
    return tower
