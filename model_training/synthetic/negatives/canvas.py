"""What the drawers of negatives share: grids, noise, and thicknesses of what X-rays pass through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_training.synthetic.phantom.geometry import Array, f32

Rng = np.random.Generator
Point = Sequence[float] | Array  # across, down


def grid(size: int) -> tuple[Array, Array]:
    """Coordinates across f32[1,size] and down f32[size,1], from -1 to 1."""
    axis = f32(np.linspace(-1, 1, size))
    return axis[None], axis[:, None]


def noise(rng: Rng, size: int, power: float, stretch: float = 1.0) -> Array:
    """Noise f32[size,size] of mean 0 and deviation 1, amplitude falling as frequency^-power, `stretch`ed across."""
    across, down = np.fft.rfftfreq(size) * stretch, np.fft.fftfreq(size)[:, None]
    falling = np.maximum(np.hypot(across, down), 1 / size) ** -power
    falling[0, 0] = 0
    values = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * falling, s=(size, size))
    return f32(values / values.std())


def blur(image: Array, sigma: float) -> Array:
    """f32[H,W] blurred by a Gaussian of `sigma` pixels, edges mirrored."""
    if sigma < 0.2:
        return image
    edge = min(int(3 * sigma) + 1, min(image.shape) - 1)
    padded = np.pad(image, edge, mode="reflect")
    across, down = np.fft.rfftfreq(padded.shape[1]), np.fft.fftfreq(padded.shape[0])[:, None]
    spectrum = np.fft.rfft2(padded) * np.exp(-2 * (np.pi * sigma) ** 2 * (across**2 + down**2))
    return f32(np.fft.irfft2(spectrum, s=padded.shape)[edge:-edge, edge:-edge])


def unit(image: Array) -> Array:
    """Stretched to 0..1, a thousandth cut off at either end."""
    low, high = np.percentile(image, (0.1, 99.9))
    return f32(np.clip((image - low) / max(high - low, 1e-6), 0, 1))


def ellipse(size: int, centre: Point, semi: Point, turn: float = 0.0) -> Array:
    """Squared radius of each pixel in an ellipse turned by radians: below 1 inside."""
    x, y = grid(size)
    dx, dy = x - centre[0], y - centre[1]
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    return f32((along / semi[0]) ** 2 + (across / semi[1]) ** 2)


def ball(size: int, centre: Point, semi: Point, turn: float = 0.0) -> Array:
    """Thickness of an ellipsoid along the beam, 1 in its middle."""
    return f32(np.sqrt(np.clip(1 - ellipse(size, centre, semi, turn), 0, None)))


def rod(size: int, ends: Sequence[Point], radius: float | Sequence[float]) -> Array:
    """Thickness of a rod along a line of points, in units of the picture's half side; `radius` at each point."""
    x, y = grid(size)
    radii = np.broadcast_to(np.asarray(radius, float), len(ends))
    thickness = np.zeros((size, size), np.float32)
    for (ax, ay), (bx, by), ra, rb in zip(ends[:-1], ends[1:], radii[:-1], radii[1:], strict=True):
        length = (bx - ax) ** 2 + (by - ay) ** 2 + 1e-9
        place = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1)
        square = (x - ax - place * (bx - ax)) ** 2 + (y - ay - place * (by - ay)) ** 2
        local = ra + place * (rb - ra)
        np.maximum(thickness, 2 * np.sqrt(np.clip(local**2 - square, 0, None)), out=thickness)
    return f32(thickness)


def bone(size: int, ends: Sequence[Point], radius: float | Sequence[float], marrow: float = 0.65) -> Array:
    """A long bone: a rod of cortex around marrow that hardly shows."""
    inner = np.asarray(radius, float) * marrow
    return f32(rod(size, ends, radius) - 0.75 * rod(size, ends, inner.tolist() if inner.ndim else float(inner)))
