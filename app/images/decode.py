"""Bytes to a greyscale image. PNG and JPEG, told apart by content; a name or a declared type is never asked.

Every broken file ends in a `DecodeError`, whatever the library beneath raises. Sizes are checked before pixels exist.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageChops

from app.images.errors import CorruptImageError, DecodeError, ImageTooLargeError, UnsupportedImageError

MAX_PIXELS = 40_000_000
# JPEG's own limit. PNG has none, and a picture of 40 million rows costs five times one of as many pixels.
MAX_SIDE = 65_535

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
# EXIF 2.32, tag 0x0112: what turns the stored picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
# Chroma above this is a colour, not the noise JPEG leaves in a grey picture.
_COLOUR_SPREAD = 32


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A greyscale picture and what its file says of it.

    `pixels` is [H,W], full scale being 255 (uint8) or 65535 (uint16); a large JPEG may come reduced. `width` and
    `height` are the file's own, upright. `sha256` is of the file's bytes.
    """

    pixels: Pixels
    format: str
    width: int
    height: int
    sha256: str
    warnings: tuple[str, ...]


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS, network_size: int | None = None) -> DecodedImage:
    """Decodes a PNG or JPEG file: upright, first frame, transparency over black, colour as ITU-R 601 luma.

    With `network_size` S, a JPEG is reduced by 2, 4 or 8 while decoding, as long as its longer side stays at or above
    2S. Raises `UnsupportedImageError`, `ImageTooLargeError` or `CorruptImageError`.
    """
    kind = next((name for magic, name in _SIGNATURES.items() if data.startswith(magic)), None)
    if not data:
        raise CorruptImageError("the file is empty")
    if kind is None:
        raise UnsupportedImageError("the file is neither PNG nor JPEG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is either checked here or harmless
            return _decode(data, kind, max_pixels, network_size)
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"the image has more than {max_pixels} pixels") from error
    except Exception as error:  # Pillow raises a dozen kinds on broken files
        raise CorruptImageError("the file is damaged or incomplete") from error


def _decode(data: bytes, kind: str, max_pixels: int, network_size: int | None) -> DecodedImage:
    image = Image.open(io.BytesIO(data), formats=[kind])
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLargeError(f"the image has {width * height} pixels, more than {max_pixels}")
    if max(width, height) > MAX_SIDE:
        raise ImageTooLargeError(f"the image has a side of more than {MAX_SIDE} pixels")
    if kind == "PNG":
        # Pillow skips the checksums of pixel chunks when it decodes: a flipped bit would pass as anatomy.
        image.verify()
        image = Image.open(io.BytesIO(data), formats=[kind])
    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append("the file holds several frames; the first was used")
    if network_size:
        if max(width, height) < network_size:
            notes.append(f"the image is small ({width}x{height}); the model looks at {network_size} pixels a side")
        shrink = max(width, height) / (2 * network_size)
        # JPEG only, and never below the size asked.
        image.draft(None, (max(1, int(width / shrink)), max(1, int(height / shrink))))
    image.load()
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    grey = _to_grey(image, notes)
    if orientation in _UPRIGHT:
        grey = grey.transpose(_UPRIGHT[orientation])
    if orientation in _SIDEWAYS:
        width, height = height, width
    return DecodedImage(np.array(grey), kind, width, height, hashlib.sha256(data).hexdigest(), tuple(notes))


def _to_grey(image: Image.Image, notes: list[str]) -> Image.Image:
    """Mode L, or I;16 where the file has 16 bits of grey: Pillow's own conversion would clip those at 255."""
    if image.mode == "I;16":
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("1", "L"):
        image = image.convert("RGB")
    if image.mode in ("RGB", "RGBA") and _is_coloured(image):
        notes.append("the image is in colour; it was converted to grey")
    grey = image.convert("L")
    if image.mode == "RGBA":
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            notes.append("transparent parts of the image were taken as black")
            grey = ImageChops.multiply(grey, alpha)
    return grey


def _is_coloured(image: Image.Image) -> bool:
    """Whether more than one in a hundred of a 64x64 sample of pixels has a hue."""
    sample = np.asarray(image.resize((64, 64), Image.Resampling.NEAREST).convert("RGB")).astype(np.int16)
    return bool((np.ptp(sample, axis=-1) > _COLOUR_SPREAD).mean() > 0.01)
