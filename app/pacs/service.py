"""Asks the service for the SR and the PDF of a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.dicomweb.multipart import DICOM
from app.pacs.errors import AwayError, RefusedError, StudyFailedError
from app.service_client import ProblemError, ServiceClient, UnreachableError

KINDS = ("sr", "pdf")
# What the study's own files are refused with. 401, 403, 404, 405 and 406 are not their fault but of how we are set up.
_REFUSALS = (400, 413, 415, 422)
# What another study may fare better with.
_FAILURES = (500, 504)


class ReportService:
    """The one configured service."""

    def __init__(self, url: str, key: str | None, patience_seconds: float) -> None:
        """`patience_seconds` is for one answer, the time on the wire included."""
        self._client = ServiceClient(url, key, patience_seconds)

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.close()

    async def max_images(self) -> int:
        """How many images of a study it takes. Raises `AwayError`."""
        with _pacs_errors():
            described = await self._client.model()
        try:
            limit = described["limits"]["max_images"]
        except (LookupError, TypeError) as error:
            raise AwayError("service", "it is no such service") from error
        return limit if isinstance(limit, int) and limit > 0 else 1

    async def report(self, files: Sequence[bytes | bytearray], kind: str) -> bytes:
        """The object of a kind, a DICOM file. Raises `RefusedError`, `AwayError` and `StudyFailedError`."""
        with _pacs_errors():
            return await self._client.report(files, DICOM, {"object": kind})


@contextmanager
def _pacs_errors() -> Iterator[None]:
    """What the client raises, as the loop tells it apart."""
    try:
        yield
    except UnreachableError as error:
        raise AwayError("service", str(error)) from error
    except ProblemError as error:
        if error.status in _REFUSALS:
            raise RefusedError(error.type) from error
        if error.status in _FAILURES:
            raise StudyFailedError(error.type) from error
        raise AwayError("service", error.type, error.retry_after) from error
