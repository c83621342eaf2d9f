"""Files of a request, decoded in the worker processes."""

from __future__ import annotations

import asyncio

from app.api.problems import Problem
from app.api.service import RequestSlot
from app.api.uploads import ACCEPT_POST
from app.images.decode import DecodedImage
from app.images.errors import DecodeError
from app.images.pool import DecodePool

PROBLEMS = (
    "malformed-request",
    "unauthorized",
    "request-timeout",
    "payload-too-large",
    "image-too-large",
    "unsupported-media-type",
    "unsupported-transfer-syntax",
    "invalid-options",
    "corrupt-image",
    "no-pixel-data",
    "multi-frame",
    "unsupported-modality",
    "rate-limited",
    "internal-error",
    "overloaded",
    "model-not-ready",
    "draining",
    "deadline-exceeded",
)
"""What a route may answer that takes files and decodes them."""


async def decode_files(slot: RequestSlot, decoder: DecodePool) -> list[DecodedImage]:
    """All images at once, which take the room of their files. Raises the problem of the first that cannot be used."""

    async def decode(file: bytearray) -> DecodedImage:
        image = await asyncio.wrap_future(decoder.decode(file))
        slot.hold_image(image)
        return image

    images: list[DecodedImage] = []
    for i, result in enumerate(await asyncio.gather(*map(decode, slot.files), return_exceptions=True), 1):
        if isinstance(result, DecodeError):
            headers = ACCEPT_POST if result.type == "unsupported-media-type" else None
            raise Problem(result.type, f"Image {i}: {result}.", headers) from result
        if isinstance(result, BaseException):
            raise result
        images.append(result)
    slot.drop_files()
    return images
