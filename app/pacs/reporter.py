"""One study from its images to its SR and PDF in the PACS.

A report is in the PACS once, whoever dies when: the SOP instance UIDs of SR and PDF are derived from images and model,
so a second try makes the same objects; what is there already is not stored again, and storing it would change nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Protocol

from app.dicomweb.chest_images import Instance
from app.dicomweb.errors import StudyTooLargeError
from app.pacs.destinations import Destination, identify
from app.pacs.errors import RefusedError
from app.pacs.metrics import PacsMetrics
from app.pacs.service import KINDS, ReportService
from app.pacs.state import State, fingerprint

logger = logging.getLogger(__name__)


class Candidate(Protocol):
    """A study that may be reported on. Its methods raise `AwayError` and `StudyFailedError`."""

    @property
    def study(self) -> str:
        """Its UID."""

    @property
    def objects(self) -> int | None:
        """How many objects the PACS has of it, where known."""

    async def images(self, limit: int) -> Sequence[Instance]:
        """The images to report on."""

    async def files(self, images: Sequence[Instance]) -> Sequence[bytes | bytearray]:
        """Their files. Raises `StudyTooLargeError`."""

    async def dealt_with(self) -> None:
        """It has been decided on, durably."""


class Reporter:
    """Decides on studies, one at a time from each source."""

    def __init__(self, service: ReportService, destination: Destination, state: State, metrics: PacsMetrics) -> None:
        self._service = service
        self._destination = destination
        self._state = state
        self._metrics = metrics

    async def handle(self, candidate: Candidate) -> None:
        """Reports on a study, unless it was decided on with these very images.

        Raises `AwayError` and `StudyFailedError`; then nothing is decided.
        """
        started = time.monotonic()
        images = await candidate.images(await self._service.max_images())
        of_images = fingerprint(one.uid for one in images)
        decision = self._state.decision(candidate.study)
        if decision is not None and decision.images == of_images:
            self._state.looked_at(candidate.study, candidate.objects)
        else:
            outcome, reason = await self._outcome(candidate, images)
            number = self._state.decide(candidate.study, of_images, candidate.objects, outcome, reason)
            self._metrics.study(outcome)
            seconds = round(time.monotonic() - started, 3)
            extra = {"study": number, "outcome": outcome, "images": len(images), "seconds": seconds}
            logger.info("study", extra=extra | ({"reason": reason} if reason else {}))
        await candidate.dealt_with()

    async def _outcome(self, candidate: Candidate, images: Sequence[Instance]) -> tuple[str, str]:
        if not images:
            return "no_images", ""
        try:
            files = await candidate.files(images)
            stored = [await self._store(candidate.study, files, kind) for kind in KINDS]
        except RefusedError as error:
            return "refused", str(error)
        except StudyTooLargeError:
            return "refused", "payload-too-large"
        return ("reported" if any(stored) else "already_reported"), ""

    async def _store(self, study: str, files: Sequence[bytes | bytearray], kind: str) -> bool:
        """Whether the object of this kind was not there yet."""
        made = await self._service.report(files, kind)
        if await self._destination.has(study, identify(made, study)):
            return False
        await self._destination.store(study, made)
        self._metrics.stored(kind)
        return True
