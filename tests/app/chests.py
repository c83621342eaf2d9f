"""Maps of lungs and heart made up of ellipses."""

from __future__ import annotations

import torch
from torch import Tensor

SIZE = 64
CERTAIN = 12.0  # the logit of what a cell is


def ellipse(x: float, y: float, wide: float, high: float, size: int = SIZE) -> Tensor:
    """bool[size,size], True within an ellipse of that centre and those radii, in cells of `SIZE`."""
    line = (torch.arange(size) + 0.5) * (SIZE / size)
    return ((line - x) / wide).square() + ((line[:, None] - y) / high).square() <= 1


def chest(
    *, shift: float = 0.0, heart: float = 10.0, lungs: tuple[float, float] = (20.0, 44.0), certain: float = CERTAIN
) -> Tensor:
    """Logits f32[5,64,64] of a chest 42 cells wide with a heart twice `heart` wide, all `shift` to the right; `lungs`
    are the middles of the one on the image's left and of the other."""
    fine = 8 * SIZE
    right, left = (ellipse(x + shift, 28, 9, 18, fine) for x in lungs)
    middle = ellipse(34 + shift, 36, heart, 9, fine)
    classes = torch.zeros(fine, fine, dtype=torch.long)
    classes[right], classes[left], classes[middle] = 1, 2, 3
    return logits_of(classes, certain)


def logits_of(classes: Tensor, certain: float = CERTAIN) -> Tensor:
    """Logits f32[5,64,64] of the shares that classes i64[S,S] have in each cell."""
    shares = torch.nn.functional.one_hot(classes, 5).permute(2, 0, 1).float()[None]
    shares = torch.nn.functional.adaptive_avg_pool2d(shares, SIZE)[0]
    return shares.clamp(min=float(torch.tensor(-certain).exp())).log()
