"""Boxes over images as they were sent."""

from __future__ import annotations

from pydantic import BaseModel

from app.images.decode import DecodedImage


class Box(BaseModel):
    """A region in pixels of an image as the file has it, upright; it may reach beyond the image."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def over(cls, image: DecodedImage, fractions: tuple[float, float, float, float]) -> Box:
        """The box that is left, top, right and bottom as `fractions` of what the network was given of an image."""
        x, y, end_x, end_y = image.region
        left, right = (round(x + share * (end_x - x), 1) for share in fractions[::2])
        top, bottom = (round(y + share * (end_y - y), 1) for share in fractions[1::2])
        return cls(left=left, top=top, right=right, bottom=bottom)
