"""From line integrals to a radiograph: Beer-Lambert, scatter, noise, the display curve, shutters and marker."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.inference.chest import STRUCTURES
from model_training.data.study import View
from model_training.synthetic.phantom.body import Acquisition, DrawnFinding, Phantom
from model_training.synthetic.phantom.geometry import Array, f32
from model_training.synthetic.phantom.projection import acquisition, attenuation, silhouettes

_Pixel = TypeVar("_Pixel", bound=np.generic)

WATER = 0.0206  # attenuation of water in 1/mm at 60 keV, about the mean of a chest spectrum (NIST XCOM)
_MARGIN = 1.125  # the rendered field over the shown one: room for the roll and for what the convolutions wrap round
# By view: what share of the brightest counts as body, where its range starts on the display curve, the curve's gain.
_DISPLAY: dict[View, tuple[float, float, float]] = {"frontal": (0.3, 0.22, 1.8), "lateral": (0.5, 0.26, 1.6)}


def render(phantom: Phantom, view: View, size: int) -> Array:
    """One radiograph f32[size, size] in 0..1: bone bright, air dark, the patient's right on the image's left.

    The same phantom, view and size give the same picture. Raises ValueError where the study has no such view.
    """
    shot = acquisition(phantom, view)
    pixel = shot.field / size
    water = _rolled(phantom, view, size)
    rng = np.random.default_rng((phantom.seed, 4, view == "lateral"))
    depth = expose(water + _texture(water, pixel, rng), pixel, shot.dose, rng)
    return _frame(_shown(_display(depth, pixel, shot, view), size), shot)


def footprint(phantom: Phantom, view: View, finding: DrawnFinding, size: int) -> Array:
    """How many mm of water each pixel of `render` has more, or less, for one of the findings: f32[size, size] >= 0.

    Raises ValueError where the study has no such view.
    """
    without = replace(phantom, findings=tuple(other for other in phantom.findings if other != finding))
    return np.abs(_shown(_rolled(phantom, view, size) - _rolled(without, view, size), size))


def chest_mask(phantom: Phantom, view: View, size: int) -> NDArray[np.uint8]:
    """What each pixel of `render` shows, the number of one of `STRUCTURES`, "outside" not among them: u8[size, size].

    Raises ValueError where the study has no such view.
    """
    shot, wide = acquisition(phantom, view), round(size * _MARGIN)
    drawn = np.zeros((wide, wide), dtype=np.uint8)
    for name, covered in silhouettes(phantom, view, wide, margin=wide / size).items():
        drawn[covered] = STRUCTURES.index(name)
    rolled = np.asarray(Image.fromarray(drawn).rotate(shot.roll, Image.Resampling.NEAREST))
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[_open(size, shot)] = _shown(rolled, size)[_open(size, shot)]
    return mask


def _rolled(phantom: Phantom, view: View, size: int) -> Array:
    """The line integrals of a view and of a margin around it, the patient rolled in the image plane."""
    wide = round(size * _MARGIN)
    water = attenuation(phantom, view, wide, margin=wide / size)
    roll = acquisition(phantom, view).roll
    return np.asarray(Image.fromarray(water).rotate(roll, Image.Resampling.BICUBIC))


def _shown(wide: NDArray[_Pixel], size: int) -> NDArray[_Pixel]:
    """The view without the margin."""
    edge = (len(wide) - size) // 2
    return wide[edge : edge + size, edge : edge + size]


def expose(water: Array, pixel: float, dose: float, rng: np.random.Generator) -> Array:
    """What a detector records behind f32[H, W] mm of water: -ln of the transmitted share, with scatter and noise.

    `pixel` is in mm, `dose` in photons per mm² before the patient.
    """
    primary = np.exp(-WATER * water)  # Beer-Lambert
    (scatter,) = _blur(primary, 22 / pixel)
    signal = primary + 0.2 * scatter + 0.0005
    quanta = np.sqrt(signal / (dose * pixel**2)) * rng.standard_normal(water.shape, dtype=np.float32)
    return f32(-np.log(np.maximum(signal + quanta, 1e-4)))


def _frequencies(shape: tuple[int, ...], pixel: float = 1.0) -> Array:
    """Spatial frequencies of a real transform, in cycles per unit of `pixel`."""
    return f32(np.hypot(np.fft.rfftfreq(shape[1], pixel), np.fft.fftfreq(shape[0], pixel)[:, None]))


def _blur(image: Array, *sigmas: float) -> list[Array]:
    """The image blurred by Gaussians of the given sigmas in pixels."""
    spectrum, square = np.fft.rfft2(image), -2 * np.pi**2 * _frequencies(image.shape) ** 2
    return [f32(np.fft.irfft2(spectrum * np.exp(square * s * s), s=image.shape)) for s in sigmas]


def _texture(water: Array, pixel: float, rng: np.random.Generator) -> Array:
    """The unevenness of tissue in mm of water: noise of power 1/f³ (Burgess et al., Med Phys 28:419, 2001)."""
    white = np.fft.rfft2(rng.standard_normal(water.shape, dtype=np.float32))
    falling = np.maximum(_frequencies(water.shape, pixel), 1 / 60) ** -1.5  # beyond 60 mm the anatomy is drawn
    noise = np.fft.irfft2(white * falling, s=water.shape)
    return f32(2.2 * noise / noise.std() * np.minimum(water / 80, 1))


def _display(depth: Array, pixel: float, shot: Acquisition, view: View) -> Array:
    """Digital radiography's processing: detail lifted, the range of the chest put on a curve with a long shoulder."""
    fine, coarse = _blur(depth, 2.5 / pixel, 14 / pixel)
    enhanced = depth + 0.5 * (depth - fine) + 0.5 * (depth - coarse)
    body, start, gain = _DISPLAY[view]
    quarter = len(depth) // 4
    middle = enhanced[quarter:-quarter, quarter:-quarter]
    low, high = np.percentile(middle[middle > body * np.percentile(middle, 95)], (5, 85))
    scaled = (enhanced - low) / (high - low) + start + shot.brightness
    toe = 0.15  # softens the start of the curve
    return f32(1 - np.exp(-gain * shot.contrast * toe * np.logaddexp(0, scaled / toe)))


def _open(size: int, shot: Acquisition) -> tuple[slice, slice]:
    """What the shutters leave of the view: rows and columns."""
    left, top, right, bottom = (round(share * size) for share in shot.collimation)
    return np.s_[top : size - bottom, left : size - right]


def _frame(image: Array, shot: Acquisition) -> Array:
    """Shutters and side marker."""
    size = len(image)
    framed = np.full_like(image, 0.02)
    framed[_open(size, shot)] = image[_open(size, shot)]
    if shot.marker:
        stamp = Image.new("L", (size, size))
        centre = (shot.marker_centre[0] * size, shot.marker_centre[1] * size)
        font = ImageFont.load_default(max(8, 0.055 * size))
        ImageDraw.Draw(stamp).text(centre, shot.marker, fill=245, font=font, anchor="mm")
        framed = np.maximum(framed, f32(np.asarray(stamp)) / 255)
    return np.clip(framed, 0, 1)
