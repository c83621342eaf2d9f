"""Files of a request, decoded in the worker processes."""

from __future__ import annotations

import asyncio
from itertools import count

from app.api.problems import Problem
from app.api.request_slot import RequestSlot
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

    async def decode(i: int, file: bytearray) -> DecodedImage:
        try:
            image = await asyncio.wrap_future(decoder.decode(file))
        except DecodeError as error:
            headers = ACCEPT_POST if error.type == "unsupported-media-type" else None
            raise Problem(error.type, f"Image {i}: {error}.", headers) from error
        slot.hold_image(image)
        return image

    if len(slot.files) == 1:  # most studies; a task would cost more than it does for several
        images = [await decode(1, slot.files[0])]
    else:
        images = []
        for result in await asyncio.gather(*map(decode, count(1), slot.files), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            images.append(result)
    slot.drop_files()
    return images
