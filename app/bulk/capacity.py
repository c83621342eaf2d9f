"""How much may be under way at once: by what `/v1/model` says of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.bulk.study import Problem, StopError

_MAX_HELD_BYTES = 256 * 2**20
# Multipart headers around an image.
_PART_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Capacity:
    """Limits of one study, and how many studies keep the device busy."""

    max_images: int
    max_image_bytes: int
    max_body_bytes: int
    in_flight: int

    @classmethod
    def of(cls, model: Mapping[str, Any], options: Mapping[str, str], asked: int | None = None) -> Capacity:
        """From `/v1/model` and the options of the reports; `asked` for so many in flight. Raises `StopError`.

        Studies that fill the device's rows, and as many again that are decoded or wait, half the queue at most: more
        would make no report come sooner, and others would find no room.
        """
        try:
            limits = model["limits"]
            beams = int(options.get("num_beams", "") or model["default_options"]["num_beams"])
            on_device = max(1, limits["max_rows"] // max(1, beams))
            most = max(1, min(limits["max_requests"], on_device + limits["max_queue"]))
            usual = max(1, min(limits["max_requests"] // 2, on_device + min(on_device, limits["max_queue"] // 2)))
            return cls(
                max(1, int(limits["max_images"])),
                int(limits["max_image_bytes"]),
                int(limits["max_body_bytes"]),
                min(asked, most) if asked else usual,
            )
        except ValueError as error:  # num_beams is no number
            raise StopError("num_beams must be a whole number") from error
        except (LookupError, TypeError) as error:
            raise StopError("this is no service of reports: it says nothing of its limits") from error

    def refusal(self, sizes: Sequence[int]) -> Problem | None:
        """What the service would say of files of so many bytes, before they are read."""
        if max(sizes) > self.max_image_bytes:
            return Problem("payload-too-large", f"An image may have at most {self.max_image_bytes} bytes.")
        if sum(sizes) + _PART_BYTES * (len(sizes) + 1) > self.max_body_bytes:
            return Problem("payload-too-large", f"The request may have at most {self.max_body_bytes} bytes.")
        return None


class Room:
    """Bytes of files held at once: as many as fit, one study whatever its size."""

    def __init__(self, max_bytes: int = _MAX_HELD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._freed = asyncio.Condition()

    async def take(self, size: int) -> None:
        """Waits until there is room."""
        async with self._freed:
            await self._freed.wait_for(lambda: not self._held or self._held + size <= self._max_bytes)
            self._held += size

    async def give_back(self, size: int) -> None:
        """It is free again."""
        async with self._freed:
            self._held -= size
            self._freed.notify_all()
