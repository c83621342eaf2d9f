"""Random training examples for the anatomy head: films moved, cropped, framed, veiled and blurred, with their maps; and
films turned or inverted, in which it is to find nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from app.images.borders import Pixels
from app.inference.chest import STRUCTURES
from app.inference.preprocessing import to_unit_range
from model_training.anatomy.films import MaskedFilm
from model_training.model.anatomy_head import MAP_SIZE

CANVAS = 192  # pixels a side of the squares that films are kept in
OUTSIDE = STRUCTURES.index("outside")
RESOLUTIONS = (64, 96, 112, 128, 128, 160, 192, 192)  # pixels a side of the examples: films come that coarse

# How often.
TURNED, INVERTED, MIRRORED = 0.1, 0.05, 0.1
CROPPED, FRAMED, VEILED = 0.5, 0.25, 0.2

# How far, each way. Scales and aspects are logarithms.
ROTATION, SCALE, ASPECT, SHIFT = math.radians(12), 0.3, 0.15, 0.12
WINDOW_ASPECT, FRAME = 0.45, 0.15
GAMMA, NOISE = 0.4, 0.03
SHADOWS = 4  # at most


@dataclass(frozen=True, eq=False)
class FilmBank:
    """Films u8[N,1,S,S] in squares of S = `CANVAS`, and which of `STRUCTURES` each pixel is, u8[N,1,S,S]."""

    films: Tensor
    classes: Tensor

    @classmethod
    def of(cls, films: Sequence[MaskedFilm]) -> FilmBank:
        """Each film as large as fits, in the middle of its square."""
        pictures, classes = zip(*map(_squared, films), strict=True)
        return cls(torch.stack(pictures), torch.stack(classes))


def draw_examples(bank: FilmBank, chosen: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images f32[B,1,R,R] as `preprocess` makes them, R drawn for all together, of the films `chosen` i64[B]; and the
    shares f32[B,C,A,A] of `STRUCTURES` that the head is to give for them."""
    count = len(chosen)
    turns = torch.randint(1, 4, (count,), generator=rng) * _often(count, TURNED, rng)
    inverted, mirrored = _often(count, INVERTED, rng), _often(count, MIRRORED, rng)
    images, classes = _move(bank.films[chosen].float() / 255, bank.classes[chosen].float(), turns, mirrored, rng)
    images = _develop(_veil(images, rng), rng)
    images = torch.where(inverted[:, None, None, None], 1 - images, images)
    images, classes = _frame(images, classes, rng)
    window = _window(count, rng)
    classes = torch.where(window, classes, float(OUTSIDE))
    strange = (inverted | mirrored | (turns > 0))[:, None, None, None]
    classes = torch.where(strange & (classes != OUTSIDE), 0.0, classes)
    known = torch.arange(len(STRUCTURES)).view(1, -1, 1, 1)
    shares = F.adaptive_avg_pool2d((classes == known).float(), MAP_SIZE)
    return _standardise(images, window, rng), shares


def small(pixels: Pixels) -> Pixels:
    """A film [H,W] as uint8, its longer side `CANVAS`."""
    image = to_unit_range(pixels)[None, None]
    scale = CANVAS / max(image.shape)
    size = [max(1, round(side * scale)) for side in pixels.shape]
    reduced = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
    found: Pixels = (reduced[0, 0] * 255).round().byte().numpy()
    return found


def _squared(film: MaskedFilm) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(small(film.pixels))[None]
    mask = torch.from_numpy(film.mask)[None, None].float()
    classes = F.interpolate(mask, list(pixels.shape[1:]), mode="nearest-exact")[0].byte()
    rows, columns = pixels.shape[1:]
    top, left = (CANVAS - rows) // 2, (CANVAS - columns) // 2
    margins = [left, CANVAS - columns - left, top, CANVAS - rows - top]
    return F.pad(pixels, margins), F.pad(classes, margins, value=OUTSIDE)


def _uniform(count: int, most: float, rng: torch.Generator, least: float | None = None) -> Tensor:
    """f32[count] between `least`, or -`most`, and `most`."""
    least = -most if least is None else least
    return least + (most - least) * torch.rand(count, generator=rng)


def _often(count: int, share: float, rng: torch.Generator) -> Tensor:
    return torch.rand(count, generator=rng) < share


def _move(
    images: Tensor, classes: Tensor, turns: Tensor, mirrored: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mirrored, turned, stretched, moved and cropped; what comes in from beyond the film is dark, and outside."""
    count = len(images)
    angle = _uniform(count, ROTATION, rng) + turns * (math.pi / 2)
    zoom, aspect = _uniform(count, SCALE, rng), _uniform(count, ASPECT, rng)
    cosine, sine = angle.cos(), angle.sin()
    across, down = (zoom + aspect).exp() * (1 - 2 * mirrored.float()), (zoom - aspect).exp()
    rows = [cosine * across, -sine * across, _uniform(count, 2 * SHIFT, rng)]
    rows += [sine * down, cosine * down, _uniform(count, 2 * SHIFT, rng)]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
    moved = F.grid_sample(classes - OUTSIDE, grid, mode="nearest", align_corners=False) + OUTSIDE
    return F.grid_sample(images, grid, align_corners=False), moved


def _veil(images: Tensor, rng: torch.Generator) -> Tensor:
    """Shadows of any size over some, bright as of fluid, consolidation, bones and devices, or dark as of air beside the
    body: lungs and heart are where they were."""
    count = len(images)
    line = (torch.arange(CANVAS) + 0.5) / CANVAS
    for _ in range(SHADOWS):
        x, y = _uniform(count, 1.0, rng, 0.0), _uniform(count, 1.0, rng, 0.0)
        wide, high = _uniform(count, 0.25, rng, 0.02), _uniform(count, 0.25, rng, 0.02)
        across = (-((line - x[:, None]) / wide[:, None]).square()).exp()
        down = (-((line - y[:, None]) / high[:, None]).square()).exp()
        density = _uniform(count, 0.95, rng, 0.0) * _often(count, VEILED, rng)
        shadow = ((density[:, None] * down)[:, :, None] * across[:, None])[:, None]
        tone = torch.where(_often(count, 0.35, rng), 0.05, 0.85).view(-1, 1, 1, 1)
        images = torch.lerp(images, tone, shadow)
    return images


def _develop(images: Tensor, rng: torch.Generator) -> Tensor:
    """Other gamma, window and slope of brightness, and grain."""
    count = len(images)
    line = torch.linspace(-0.5, 0.5, CANVAS)
    across, down = (_uniform(count, 0.3, rng)[:, None] * line for _ in range(2))
    images = images + (across[:, None] + down[:, :, None])[:, None] * images
    low, high = (_uniform(count, most, rng, least).view(-1, 1, 1, 1) for least, most in ((-0.2, 0.1), (0.9, 1.3)))
    images = ((images - low) / (high - low)).clamp(1e-4, 1)
    images = images ** _uniform(count, GAMMA, rng).exp().view(-1, 1, 1, 1)
    grain = torch.randn(images.shape, generator=rng) * _uniform(count, NOISE, rng, 0.0).view(-1, 1, 1, 1)
    return (images + grain).clamp(0, 1)


def _frame(images: Tensor, classes: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Borders of one tone over some, as wide as a film's may be without being cropped."""
    count = len(images)
    widths = _uniform(4 * count, FRAME, rng, -FRAME / 2).view(4, -1, 1, 1, 1)
    line = (torch.arange(CANVAS) + 0.5) / CANVAS
    across, down = line.view(1, 1, 1, -1), line.view(1, 1, -1, 1)
    frame = (across < widths[0]) | (across > 1 - widths[1]) | (down < widths[2]) | (down > 1 - widths[3])
    frame = frame & _often(count, FRAMED, rng).view(-1, 1, 1, 1)
    tone = (_uniform(count, 1.5, rng, -0.5)).clamp(0, 1).view(-1, 1, 1, 1)
    return torch.where(frame, tone, images), torch.where(frame, float(OUTSIDE), classes)


def _window(count: int, rng: torch.Generator) -> Tensor:
    """Where the picture lies in the square, bool[B,1,S,S]: some are no squares, and padded."""
    aspect = _uniform(count, WINDOW_ASPECT, rng) * _often(count, CROPPED, rng)
    line = ((torch.arange(CANVAS) + 0.5) / CANVAS - 0.5).abs() * 2
    wide, high = aspect.clamp(max=0).exp().view(-1, 1, 1, 1), (-aspect).clamp(max=0).exp().view(-1, 1, 1, 1)
    return (line.view(1, 1, 1, -1) < wide) & (line.view(1, 1, -1, 1) < high)


def _standardise(images: Tensor, window: Tensor, rng: torch.Generator) -> Tensor:
    """As `preprocess` does, at a resolution and by a kernel drawn for all together."""
    size = RESOLUTIONS[int(torch.randint(len(RESOLUTIONS), (), generator=rng))]
    smooth = bool(torch.rand((), generator=rng) < 0.5)
    images = torch.where(window, images, images.masked_fill(~window, 1).amin((2, 3), keepdim=True))
    images = F.interpolate(images, [size, size], mode="bilinear", align_corners=False, antialias=smooth)
    within = F.interpolate(window.float(), [size, size], mode="nearest-exact")
    pixels = within.sum((2, 3), keepdim=True)
    mean = (images * within).sum((2, 3), keepdim=True) / pixels
    deviation = (((images - mean) * within).square().sum((2, 3), keepdim=True) / pixels).sqrt()
    return (images - mean) / (deviation + 1e-3)
