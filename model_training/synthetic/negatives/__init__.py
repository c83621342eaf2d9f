"""Pictures that are no chest radiographs, drawn or made of pieces: what the OOD head learns to refuse.

Drawn by our own means alone, so that every collection of real ones is left for testing. A kind must not give itself
away by clean edges or a range of greys of its own: each picture goes through a camera of random faults, and takes its
histogram or its grain from a real film now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from model_training.synthetic.negatives.bodies import BODIES
from model_training.synthetic.negatives.camera import crop, spoil, with_film
from model_training.synthetic.negatives.canvas import Rng
from model_training.synthetic.negatives.cuttings import CUTTINGS, Films
from model_training.synthetic.negatives.scenes import SCENES
from model_training.synthetic.negatives.slices import SLICES
from model_training.synthetic.phantom.geometry import Array

_DRAWN: Mapping[str, Callable[[Rng], Array]] = {**BODIES, **SLICES, **SCENES}
KINDS = (*_DRAWN, *CUTTINGS)


def draw_negative(seed: tuple[int, ...], kind: str, films: Films) -> Array:
    """A picture f32[H,W] in 0..1 of one of `KINDS`; the same seed and films f32[H,W] give the same picture."""
    rng = np.random.default_rng(seed)
    image = _DRAWN[kind](rng) if kind in _DRAWN else CUTTINGS[kind](rng, films)
    return spoil(rng, with_film(rng, image, films[int(rng.integers(len(films)))]))


__all__ = ["KINDS", "crop", "draw_negative", "spoil", "with_film"]
