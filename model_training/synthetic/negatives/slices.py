"""Pictures of other modalities: CT and MR slices, ultrasound, the back of the eye, cells under a microscope."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from model_training.synthetic.negatives.canvas import Rng, blur, ellipse, grid, noise, rod, unit
from model_training.synthetic.phantom.geometry import Array, f32

SIZE = 256


def _paint(image: Array, value: float, *shape: object, soft: float = 1.0) -> Array:
    """`value` inside an ellipse, its edge softened."""
    inside = blur(f32(ellipse(SIZE, *shape) < 1), soft)  # type: ignore[arg-type]  # as ellipse has them
    return f32(image * (1 - inside) + value * inside)


def ct(rng: Rng) -> Array:
    """An axial CT slice of head, chest or abdomen, at any window."""
    image = np.full((SIZE, SIZE), 0.0, np.float32)
    wide, high = rng.uniform(0.6, 0.92), rng.uniform(0.45, 0.85)
    part = rng.choice(("head", "chest", "abdomen"))
    fat, tissue = rng.uniform(0.25, 0.4), rng.uniform(0.45, 0.6)
    if part == "head":
        image = _paint(image, 1.0, (0, 0), (wide * 0.85, high))
        image = _paint(image, tissue, (0, 0), (wide * 0.85 - 0.06, high - 0.06))
        for s in (-1, 1):
            image = _paint(image, tissue - 0.2, (s * 0.1, -0.05), (0.06, rng.uniform(0.1, 0.3)), s * 0.25)
        image += 0.03 * noise(rng, SIZE, 1.5)
    else:
        image = _paint(image, fat, (0, 0), (wide, high))
        image = _paint(image, tissue, (0, 0), (wide - rng.uniform(0.03, 0.12), high - rng.uniform(0.03, 0.1)))
        if part == "chest":
            for s in (-1, 1):
                image = _paint(image, 0.05, (s * 0.42 * wide / 0.8, 0.02), (0.3 * wide, 0.75 * high), s * 0.15)
            image = _paint(image, tissue + 0.08, (0.1, -0.12), (0.28, 0.3 * high), 0.4)
            for _ in range(int(rng.integers(10, 40))):
                image = _paint(image, tissue, rng.uniform(-0.6, 0.6, 2), rng.uniform(0.005, 0.03, 2), soft=0.7)
        else:
            image = _paint(image, tissue + 0.07, (-0.35, -0.1), (0.35 * wide, 0.6 * high), 0.3)
            for s in (-1, 1):
                image = _paint(image, tissue + 0.12, (s * 0.38, 0.3 * high), (0.13, 0.18), s * 0.4)
            for _ in range(int(rng.integers(3, 14))):
                gas = rng.random() < 0.4
                centre = rng.uniform(-0.4, 0.4, 2)
                image = _paint(
                    image, 0.02 if gas else tissue + 0.05, centre, rng.uniform(0.04, 0.13, 2), rng.uniform(0, 3)
                )
        image = _paint(image, 0.95, (0, 0.55 * high), (0.13, 0.11))
        image = _paint(image, tissue, (0, 0.55 * high), (0.09, 0.07))
        for angle in rng.uniform(0, 2 * np.pi, int(rng.integers(6, 16))):
            rib = (0.86 * wide * np.cos(angle), 0.86 * high * np.sin(angle))
            image = _paint(image, 1.0, rib, (0.07, 0.02), angle + np.pi / 2)
    if rng.random() < 0.5:  # the table
        x, y = grid(SIZE)
        image = np.maximum(image, 0.4 * (np.abs(y - high - 0.06 - 0.1 * x**2) < 0.012))
    image = image + rng.uniform(0.005, 0.05) * blur(noise(rng, SIZE, 0), 0.7) * 2
    low = rng.uniform(-0.05, 0.4)
    return f32(np.clip((image - low) / rng.uniform(0.25, 1.0), 0, 1))


def mr(rng: Rng) -> Array:
    """A head or a joint in MR: folded bright matter in a dark rim, shaded by the coil."""
    image = f32(np.zeros((SIZE, SIZE)))
    semi = rng.uniform(0.55, 0.85, 2)
    shift = rng.normal(0, 0.08, 2)
    image = _paint(image, rng.uniform(0.5, 1.0), shift, semi)
    image = _paint(image, 0.08, shift, semi - 0.06)
    folds = np.tanh(3 * noise(rng, SIZE, rng.uniform(0.9, 1.8)) * 0.7)
    matter = rng.uniform(0.3, 0.6) + rng.uniform(0.05, 0.25) * blur(f32(folds), 1.0)
    inside = blur(f32(ellipse(SIZE, shift, semi - 0.1) < 1), 1.2)
    image = image * (1 - inside) + matter * inside
    bright = rng.choice((0.05, 0.95))
    for s in (-1, 1):
        image = _paint(image, bright, (shift[0] + s * 0.1, shift[1]), (0.07, rng.uniform(0.1, 0.3)), s * 0.3)
    if rng.random() < 0.5:  # seen from the side: face and neck
        image = np.maximum(
            image, 0.5 * (rod(SIZE, [(0.1, 0.3), (0.2, 1.4)], 0.3) > 0) * (1 + 0.3 * noise(rng, SIZE, 1.3))
        )
    x, y = grid(SIZE)
    coil = np.exp(rng.normal(0, 0.5) * x + rng.normal(0, 0.5) * y)
    return unit(f32(np.abs(image * coil + rng.uniform(0.005, 0.05) * noise(rng, SIZE, 0))))


def ultrasound(rng: Rng) -> Array:
    """A fan of speckle with dark cysts."""
    x, y = grid(SIZE)
    radius, angle = np.hypot(x, y + 1.1), np.arctan2(x, y + 1.1)
    tissue = np.exp(rng.uniform(0.4, 0.9) * noise(rng, SIZE, 1.2))
    for _ in range(int(rng.integers(0, 6))):
        tissue = _paint(f32(tissue), 0.1, rng.uniform(-0.5, 0.6, 2), rng.uniform(0.06, 0.35, 2), rng.uniform(0, 3))
    speckle = np.hypot(blur(noise(rng, SIZE, 0), 1.0), blur(noise(rng, SIZE, 0), 1.0)) * 3
    fan = (np.abs(angle) < rng.uniform(0.4, 0.9)) & (radius > rng.uniform(0.1, 0.5)) & (radius < rng.uniform(1.7, 2.1))
    return unit(f32(np.log1p(tissue * speckle * 4) * fan))


def eye(rng: Rng) -> Array:
    """A retina: a disc with branching vessels and the optic nerve's head."""
    image = (
        rng.uniform(0.3, 0.6)
        * blur(f32(ellipse(SIZE, (0, 0), (0.92, 0.92)) < 1), 2)
        * (1 + 0.1 * noise(rng, SIZE, 1.6))
    )
    head = np.array([rng.choice((-0.4, 0.4)), rng.normal(0, 0.05)])
    vessels = np.zeros((SIZE, SIZE), np.float32)
    for _ in range(int(rng.integers(6, 14))):
        angle, points = rng.uniform(0, 2 * np.pi), [head]
        for _ in range(8):
            angle += rng.normal(0, 0.35)
            points.append(points[-1] + 0.16 * np.array([np.cos(angle), np.sin(angle)]))
        vessels = np.maximum(vessels, rod(SIZE, points, np.linspace(rng.uniform(0.01, 0.03), 0.004, 9).tolist()))
    image = image * (1 - np.minimum(10 * vessels, 0.5))
    return unit(_paint(f32(image), 0.95, head, (0.12, 0.13), soft=3))


def cells(rng: Rng) -> Array:
    """Cells, coins or bubbles: many discs of one kind on an even ground."""
    image = np.full((SIZE, SIZE), rng.uniform(0.3, 0.9), np.float32) + 0.05 * noise(rng, SIZE, rng.uniform(0, 2))
    large, rim, core = rng.uniform(0.03, 0.25), rng.uniform(-0.4, 0.4), rng.uniform(-0.6, 0.6)
    for _ in range(int(min(90, 2.5 / large**1.5))):
        centre, semi = rng.uniform(-1, 1, 2), large * rng.uniform(0.7, 1.3, 2)
        shape = ellipse(SIZE, centre, semi, rng.uniform(0, 3))
        image += rim * ((shape < 1) & (shape > 0.7)) + core * (shape < 0.7) * rng.uniform(0.6, 1)
    return unit(blur(f32(image), rng.uniform(0, 2)))


SLICES: Mapping[str, Callable[[Rng], Array]] = {
    "ct": ct,
    "mr": mr,
    "ultrasound": ultrasound,
    "eye": eye,
    "cells": cells,
}
