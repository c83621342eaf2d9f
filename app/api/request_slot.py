"""One request in the house: the bytes held for it, and its way to the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.images.decode import DecodedImage
from app.inference.errors import EngineStoppedError
from app.inference.options import DecodingOptions, OperatingPoint
from app.inference.served_model import Image
from app.report import Report
from app.telemetry import request_context

if TYPE_CHECKING:
    from app.api.service import Service


def request_id() -> str:
    """That of the request at hand."""
    return request_context.get().get("request_id", "")


class HouseFullError(Exception):
    """The bytes held for all requests would be more than may be."""


class RequestSlot:
    """One request in the house. It owns the bytes held for it: its upload, then the images decoded from that."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._held_bytes = 0
        self.files: list[bytearray] = []
        self.task = asyncio.current_task()

    def hold_chunk(self, chunk: bytes) -> None:
        """A piece of the upload is to be kept. Raises `HouseFullError` when all together hold too much."""
        self._hold(len(chunk))

    def hold_image(self, image: DecodedImage) -> None:
        """An image is to be kept. Raises `HouseFullError` when all together hold too much."""
        self._hold(image.pixels.nbytes + len(image.header or b""))

    def drop_files(self) -> None:
        """The images are there: their files are let go."""
        self._keep(-sum(map(len, self.files)))
        self.files.clear()

    def leave(self) -> None:
        """Nothing is held any more."""
        self._keep(-self._held_bytes)

    def _hold(self, size: int) -> None:
        if self._service.held_by_all + size > self._service.settings.max_buffered_bytes:
            raise HouseFullError
        self._keep(size)

    def _keep(self, size: int) -> None:
        self._held_bytes += size
        self._service.held_bytes += size

    @asynccontextmanager
    async def queueing(self) -> AsyncIterator[None]:
        """Until the study is in the engine's queue it counts as if it were. Raises the problem `overloaded`."""
        self._service.check_room()
        self._service.admission.entered(request_id())
        self._service.preparing += 1
        try:
            yield
        finally:
            self._service.preparing -= 1

    def submit(
        self,
        images: Sequence[Image],
        options: DecodingOptions,
        deadline: float,
        *,
        operating_point: OperatingPoint,
        heatmaps: bool,
    ) -> asyncio.Future[Report]:
        """Queues the study, as `ReportGenerator.submit` does and raising what it raises."""
        generator = self._service.generator
        if generator is None:
            raise EngineStoppedError
        tag = request_context.get()
        return asyncio.wrap_future(
            generator.submit(images, options, deadline, tag, operating_point=operating_point, heatmaps=heatmaps)
        )
