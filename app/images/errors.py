"""What can be wrong with an image file. Each error's `type` is its name in the HTTP contract."""

from __future__ import annotations

from typing import ClassVar


class DecodeError(ValueError):
    """An image that cannot be used."""

    type: ClassVar[str]


class CorruptImageError(DecodeError):
    """A damaged or incomplete file."""

    type = "corrupt-image"


class ImageTooLargeError(DecodeError):
    """More pixels than allowed."""

    type = "image-too-large"


class UnsupportedImageError(DecodeError):
    """A format that is not read here."""

    type = "unsupported-media-type"
