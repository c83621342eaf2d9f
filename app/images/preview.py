"""A decoded image as a picture to look at: PNG, upright, in 8 bits of grey."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from app.images.decode import DecodedImage

MAX_SIDE = 2048


def preview_png(image: DecodedImage) -> bytes:
    """The whole frame of the file in its proportions, at most `MAX_SIDE` pixels a side and never enlarged. Borders that
    were cropped are black."""
    pixels = image.pixels
    grey = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    left, _, right, _ = image.region
    reduced = max(1.0, (right - left) / grey.shape[1])  # a large JPEG comes reduced
    shrink = max(reduced, max(image.width, image.height) / MAX_SIDE)
    x, y, end_x, end_y = (round(edge / shrink) for edge in image.region)
    size = (max(1, end_x - x), max(1, end_y - y))
    picture = Image.fromarray(grey)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BOX)
    frame = Image.new("L", (max(1, round(image.width / shrink)), max(1, round(image.height / shrink))))
    frame.paste(picture, (x, y))
    file = BytesIO()
    frame.save(file, "PNG", compress_level=1)
    return file.getvalue()
