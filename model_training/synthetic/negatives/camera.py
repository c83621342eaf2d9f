"""The faults of a camera, a scanner and a file: what every picture goes through, film or not."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from model_training.synthetic.negatives.canvas import Rng, blur, grid, noise
from model_training.synthetic.phantom.geometry import Array, f32


def crop(rng: Rng, image: Array, most: float) -> Array:
    """A part f32[h,w] of the picture about its middle, with up to the share `most` of each side cut off."""
    sides = [max(8, round(side * (1 - rng.uniform(0, most)))) for side in image.shape]
    top, left = (
        (side - kept) // 4 + int(rng.integers((side - kept) // 2 + 1))
        for side, kept in zip(image.shape, sides, strict=True)
    )
    return image[top : top + sides[0], left : left + sides[1]]


def with_film(rng: Rng, image: Array, film: Array) -> Array:
    """The picture, at times with the histogram of a real film f32[H,W], at times with its grain."""
    if rng.random() < 0.35:
        order = np.argsort(np.argsort(image.ravel() + 1e-4 * rng.random(image.size)))
        levels = np.sort(film.ravel())
        image = f32(levels[(order * (levels.size / image.size)).astype(int)].reshape(image.shape))
    if rng.random() < 0.25:
        patch = np.asarray(Image.fromarray(f32(film)).resize(image.shape[::-1]))
        image = f32(np.clip(image + rng.uniform(0.5, 1.5) * (patch - blur(patch, 4)), 0, 1))
    return image


def spoil(rng: Rng, image: Array, *, invert: float = 0.3, frame: float = 0.3) -> Array:
    """A picture f32[H,W] in 0..1 with random contrast, blur, shading, noise, frame, shape and compression.

    `invert` is the chance of exchanging dark and bright, `frame` that of a border.
    """
    image = f32(np.clip(image, 0, 1)) ** f32(np.exp(rng.normal(0, 0.35)))
    if rng.random() < invert:
        image = 1 - image
    if rng.random() < 0.3:
        image = blur(image, rng.uniform(0.3, 2.5))
    if rng.random() < 0.2:
        size = max(image.shape)
        x, y = grid(size)
        shade = 1 + rng.normal(0, 0.25) * x + rng.normal(0, 0.25) * y - rng.uniform(0, 0.3) * (x * x + y * y)
        image = image * shade[: image.shape[0], : image.shape[1]]
    low, high = rng.uniform(0, 0.25), rng.uniform(0.7, 1)
    image = low + (high - low) * np.clip(image, 0, 1)
    if rng.random() < 0.4:
        grain = noise(rng, max(image.shape), rng.choice((0.0, 0.5)))[: image.shape[0], : image.shape[1]]
        image = image + 10 ** rng.uniform(-2.5, -1) * grain
    if rng.random() < frame:
        edges = [(int(a), int(b)) for a, b in rng.integers(0, max(image.shape) // 7, (2, 2))]
        image = np.pad(image, edges, constant_values=rng.choice((0.0, 0.0, 1.0)))
    levels = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    scale = rng.uniform(0.6, 1.3)
    squash = np.exp(rng.normal(0, 0.12)) if rng.random() < 0.5 else 1.0
    shape = (max(48, int(levels.width * scale * squash)), max(48, int(levels.height * scale / squash)))
    levels = levels.resize(shape, Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        file = io.BytesIO()
        levels.save(file, "JPEG", quality=int(rng.integers(25, 95)))
        levels = Image.open(file)
    return f32(np.asarray(levels)) / 255
