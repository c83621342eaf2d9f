"""A file that was looked through, its pixels still packed: what the readers of the formats have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from app.images.errors import ImageTooLargeError

MAX_METADATA_BYTES = 2**20
"""What is read of a text that may say which way is up; the rest of it is passed over, like all other text."""

# PNG has no limit, and a picture of 40 million rows costs five times one of as many pixels.
MAX_SIDE = 65_535

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Opened:
    """An image that waits for `load()`, made from the parts of the file that pixels depend on.

    `metadata` is what Pillow calls `exif` (with or without "Exif\\0\\0" before it), `xmp` and `Raw profile type exif`.
    `scalable` ones can be loaded at a half, a quarter or an eighth. `paired` ones are RGBA as loaded, and mean 16 bits
    of grey and 16 of alpha, the upper bytes first. `transparent` says where a loaded image has the colour that stands
    for transparency.
    """

    image: Image.Image
    frames: int
    metadata: Mapping[str, bytes | str]
    scalable: bool = False
    paired: bool = False
    transparent: Callable[[], Mask] | None = None

    def orientation(self) -> int:
        """1 to 8, the first that is found; 1 where none can be read: metadata in disorder spoil no picture."""
        for name in ("exif", "Raw profile type exif", "xmp"):
            if name in self.metadata:
                image = Image.new("1", (1, 1))
                image.info[name] = self.metadata[name]
                with suppress(Exception):  # Pillow raises a dozen kinds
                    if (orientation := image.getexif().get(ExifTags.Base.Orientation, 0)) in range(1, 9):
                        return int(orientation)
        return 1


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises `ImageTooLargeError`."""
    if width * height > max_pixels:
        raise ImageTooLargeError(f"the image has {width * height} pixels, more than {max_pixels}")
    if max(width, height) > MAX_SIDE:
        raise ImageTooLargeError(f"the image has a side of more than {MAX_SIDE} pixels")
