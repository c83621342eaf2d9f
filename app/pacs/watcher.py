"""Studies of the DICOMweb server, found by searching it again and again: every server can be asked, PS3.18, 10.6.

A study is stable when the number of its objects has stayed the same for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from app.dicomweb.chest_images import Instance
from app.dicomweb.client import DicomWebClient, FoundStudy
from app.dicomweb.errors import StudyTooLargeError
from app.dicomweb.study import FetchLimits, fetch_images, find_images
from app.pacs.destinations import pacs_errors
from app.pacs.errors import StudyFailedError
from app.pacs.metrics import PacsMetrics
from app.pacs.state import State, fingerprint
from app.settings import Settings


class FoundCandidate:
    """A study of the server."""

    def __init__(self, found: FoundStudy, client: DicomWebClient, settings: Settings) -> None:
        self.study = found.uid
        self.objects = found.instances
        self._client = client
        self._settings = settings

    async def images(self, limit: int) -> Sequence[Instance]:
        """Asks the server for the headers."""
        settings = self._settings
        with pacs_errors():
            async with asyncio.timeout(settings.dicomweb_deadline_seconds):
                try:
                    return await find_images(self._client, self.study, None, limit, settings.pacs_modalities)
                except StudyTooLargeError as error:
                    raise StudyFailedError(str(error)) from error

    async def files(self, images: Sequence[Instance]) -> Sequence[bytearray]:
        """Fetches them."""
        settings = self._settings
        limits = FetchLimits(len(images), settings.max_image_bytes, settings.max_body_bytes)
        with pacs_errors():
            async with asyncio.timeout(settings.dicomweb_deadline_seconds):
                return await fetch_images(self._client, images, limits, hold=lambda piece: None)

    async def dealt_with(self) -> None:
        """The server keeps it."""


class Watcher:
    """The source of studies that are in the PACS."""

    def __init__(self, client: DicomWebClient, state: State, settings: Settings, metrics: PacsMetrics) -> None:
        self.interval = settings.pacs_poll_seconds
        self._client = client
        self._state = state
        self._settings = settings
        self._metrics = metrics
        # What a study was seen to hold, and since when. After a restart the wait begins anew.
        self._seen: dict[str, tuple[int | str, float]] = {}

    async def ready(self) -> Sequence[FoundCandidate]:
        """Those whose objects have not changed for `PACS_STABLE_SECONDS`, oldest first."""
        found = await self._search()
        now = time.monotonic()
        seen = {}
        for one in found:
            holds = one.instances if one.instances is not None else await self._listing(one)
            before, since = self._seen.get(one.uid, (None, now))
            seen[one.uid] = holds, since if before == holds else now
        self._seen = seen
        self._metrics.waiting.set(len(seen))
        settled = [one for one in found if now - seen[one.uid][1] >= self._settings.pacs_stable_seconds]
        settled.sort(key=lambda one: seen[one.uid][1])
        return [FoundCandidate(one, self._client, self._settings) for one in settled]

    async def _search(self) -> list[FoundStudy]:
        """Studies of our modalities and days that are not dealt with as they are."""
        found: dict[str, FoundStudy] = {}
        days = self._settings.pacs_lookback_days
        today = datetime.now(UTC).astimezone().date()
        dates = f"{today - timedelta(days=days):%Y%m%d}-" if days else None
        with pacs_errors():
            for modality in self._settings.pacs_modalities:
                async with asyncio.timeout(self._settings.dicomweb_deadline_seconds):
                    async for one in self._client.studies(modality, dates):
                        decision = self._state.decision(one.uid)
                        if decision is None or one.instances is None or decision.objects != one.instances:
                            found[one.uid] = one
        return list(found.values())

    async def _listing(self, one: FoundStudy) -> str:
        """Which objects a study holds, of a server that does not say how many."""
        candidate = FoundCandidate(one, self._client, self._settings)
        return fingerprint(image.uid for image in await candidate.images(limit=1000))
