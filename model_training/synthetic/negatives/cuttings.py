"""What is made of real chest films and is no chest film: scraps, mosaics, collages, their texture in other shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from model_training.synthetic.negatives.bodies import BODIES
from model_training.synthetic.negatives.canvas import Rng, blur, ellipse, grid, noise, unit
from model_training.synthetic.negatives.slices import SLICES
from model_training.synthetic.phantom.geometry import Array, f32

SIZE = 256
Films = Sequence[Array]  # f32[H,W] in 0..1


def fitted(image: Array, rows: int, columns: int) -> Array:
    """f32[H,W] stretched to f32[rows,columns]."""
    return f32(np.asarray(Image.fromarray(f32(image)).resize((columns, rows), Image.Resampling.BOX)))


def _any(rng: Rng, films: Films) -> Array:
    return fitted(films[int(rng.integers(len(films)))], SIZE, SIZE)


def scrap(rng: Rng, films: Films) -> Array:
    """A piece of at most a quarter of each side, from anywhere."""
    film = films[int(rng.integers(len(films)))]
    rows, columns = (max(8, int(side * rng.uniform(0.1, 0.25))) for side in film.shape)
    top, left = int(rng.integers(film.shape[0] - rows)), int(rng.integers(film.shape[1] - columns))
    return unit(np.asarray(Image.fromarray(f32(film[top : top + rows, left : left + columns])).resize((SIZE, SIZE))))


def mosaic(rng: Rng, films: Films) -> Array:
    """A film cut into tiles that were shuffled, at times turned too."""
    count = int(rng.integers(3, 9))
    side = SIZE // count
    film = _any(rng, films)[: count * side, : count * side]
    tiles = film.reshape(count, side, count, side).transpose(0, 2, 1, 3).reshape(-1, side, side)
    turned = rng.random() < 0.5
    tiles = np.stack([np.rot90(tile, int(rng.integers(4)) if turned else 0) for tile in rng.permutation(tiles)])
    return f32(tiles.reshape(count, count, side, side).transpose(0, 2, 1, 3).reshape(count * side, count * side))


def collage(rng: Rng, films: Films) -> Array:
    """Four or more films on one sheet."""
    rows, columns = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    gap = int(rng.integers(0, 8))
    sheet = np.full((SIZE, SIZE), rng.choice((0.0, 1.0, 0.5)), np.float32)
    high, wide = SIZE // rows, SIZE // columns
    for row in range(rows):
        for column in range(columns):
            place = np.s_[row * high : (row + 1) * high - gap, column * wide : (column + 1) * wide - gap]
            sheet[place] = fitted(films[int(rng.integers(len(films)))], high - gap, wide - gap)
    return sheet


def scrambled(rng: Rng, films: Films) -> Array:
    """The film's spectrum with other phases: its texture without its anatomy."""
    spectrum = np.abs(np.fft.rfft2(_any(rng, films) - 0.5))
    return unit(np.fft.irfft2(spectrum * np.exp(1j * np.angle(np.fft.rfft2(rng.standard_normal((SIZE, SIZE)))))))


def swirled(rng: Rng, films: Films) -> Array:
    """A film wound up, folded like a kaleidoscope, or torn row from row."""
    film = _any(rng, films)
    x, y = grid(SIZE)
    radius, angle = np.hypot(x, y), np.arctan2(y, x * np.ones_like(y))
    kind = rng.integers(3)
    if kind == 0:
        angle = angle + rng.choice((-1, 1)) * rng.uniform(3, 9) * np.exp(-radius * rng.uniform(0.5, 1.5))
    elif kind == 1:
        parts = int(rng.integers(2, 6))
        angle = np.abs((angle + np.pi) % (2 * np.pi / parts) - np.pi / parts)
    else:
        shifts = np.cumsum(rng.integers(-40, 41, SIZE))
        return f32(np.stack([np.roll(row, shift) for row, shift in zip(film, shifts, strict=True)]))
    rows, columns = (
        np.clip((c * radius + 1) / 2 * SIZE, 0, SIZE - 1).astype(int) for c in (np.sin(angle), np.cos(angle))
    )
    return f32(film[rows, columns])


def filled(rng: Rng, films: Films) -> Array:
    """The texture of a film within the shape of something else: a limb, a slice, a few discs, blobs."""
    film, kind = _any(rng, films), rng.random()
    zoom = fitted(film[64:192, 64:192], SIZE, SIZE) if rng.random() < 0.5 else film
    if kind < 0.4:
        names = list(BODIES)
        shape = BODIES[names[int(rng.integers(len(names)))]](rng)
        return unit(shape * (0.4 + zoom - blur(zoom, 6)))
    if kind < 0.7:
        names = list(SLICES)
        shape = SLICES[names[int(rng.integers(len(names)))]](rng)
        return unit(shape + rng.uniform(1, 3) * (zoom - blur(zoom, 5)))
    if kind < 0.85:
        mask = sum(f32(ellipse(SIZE, rng.uniform(-0.7, 0.7, 2), rng.uniform(0.1, 0.5, 2)) < 1) for _ in range(3))
    else:
        mask = f32(noise(rng, SIZE, rng.uniform(1, 2)) > 0.3)
    return f32(np.minimum(blur(f32(mask), rng.uniform(0, 3)), 1) * np.roll(zoom, rng.integers(SIZE, size=2), (0, 1)))


CUTTINGS: Mapping[str, Callable[[Rng, Films], Array]] = {
    "scrap": scrap,
    "mosaic": mosaic,
    "collage": collage,
    "scrambled": scrambled,
    "swirled": swirled,
    "filled": filled,
}
