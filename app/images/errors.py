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


class UnsupportedTransferSyntaxError(DecodeError):
    """A DICOM file encoded in a way that is not read here."""

    type = "unsupported-transfer-syntax"


class UnsupportedModalityError(DecodeError):
    """A DICOM file of something other than a radiograph."""

    type = "unsupported-modality"


class MultiFrameError(DecodeError):
    """A DICOM file of several frames."""

    type = "multi-frame"


class NoPixelDataError(DecodeError):
    """A DICOM file without an image."""

    type = "no-pixel-data"
