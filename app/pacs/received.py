"""The source of studies that were sent to us: complete when nothing was added for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.dicomweb.chest_images import Instance, choose
from app.dicomweb.errors import StudyTooLargeError
from app.dicomweb.header import read_instance
from app.pacs.metrics import PacsMetrics
from app.pacs.spool import ReceivedFile, Spool
from app.settings import Settings


class ReceivedCandidate:
    """A study on our disk."""

    objects = None  # what the PACS has of it we do not know

    def __init__(self, study: str, files: dict[str, tuple[Instance, ReceivedFile]], spool: Spool, settings: Settings):
        """`files` are by SOP instance UID."""
        self.study = study
        self._files = files
        self._spool = spool
        self._settings = settings

    async def images(self, limit: int) -> Sequence[Instance]:
        """By their headers."""
        return choose([instance for instance, _ in self._files.values()], limit, self._settings.pacs_modalities)

    async def files(self, images: Sequence[Instance]) -> Sequence[bytes]:
        """From the disk."""
        chosen = [self._files[image.uid][1] for image in images]
        sizes = [file.size for file in chosen]
        if max(sizes) > self._settings.max_image_bytes or sum(sizes) > self._settings.max_body_bytes:
            raise StudyTooLargeError("the images have more bytes than the service takes")
        return [await asyncio.to_thread(file.path.read_bytes) for file in chosen]

    async def dealt_with(self) -> None:
        """Lets go of the files."""
        await asyncio.to_thread(self._spool.drop, [file for _, file in self._files.values()])


class Inbox:
    """Studies of the spool."""

    def __init__(self, spool: Spool, settings: Settings, metrics: PacsMetrics) -> None:
        self._spool = spool
        self._settings = settings
        self._metrics = metrics

    @property
    def interval(self) -> float:
        """A quarter of the time that a study has to be quiet for."""
        return min(5.0, self._settings.pacs_stable_seconds / 4)

    async def ready(self) -> Sequence[ReceivedCandidate]:
        """Those to which nothing was added for `PACS_STABLE_SECONDS`."""
        self._metrics.received_waiting.set(self._spool.count())
        self._metrics.received_bytes.set(self._spool.held_bytes)
        settled = await asyncio.to_thread(self._spool.settled, self._settings.pacs_stable_seconds)
        return [made for files in settled if (made := await asyncio.to_thread(self._candidate, files))]

    def _candidate(self, files: Sequence[ReceivedFile]) -> ReceivedCandidate | None:
        read = {one.uid: (one, file) for file in files if (one := read_instance(file.path))}
        if not read:
            return None
        study = next(iter(read.values()))[0].study
        return ReceivedCandidate(study, read, self._spool, self._settings)
