"""Asks the service for the SR and the PDF of a study."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

import httpx

from app.dicomweb.multipart import DICOM
from app.dicomweb.retry_after import retry_after
from app.pacs.errors import AwayError, RefusedError, StudyFailedError

KINDS = ("sr", "pdf")
# What the study's own files are refused with. 401, 403, 404, 405 and 406 are not their fault but of how we are set up.
_REFUSALS = (400, 413, 415, 422)
# What another study may fare better with.
_FAILURES = (500, 504)
_CONNECT_SECONDS = 5.0


class ReportService:
    """The one configured service."""

    def __init__(self, url: str, key: str | None, patience_seconds: float) -> None:
        """`patience_seconds` is for one answer, the time on the wire included."""
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            timeout=httpx.Timeout(patience_seconds, connect=_CONNECT_SECONDS),
            verify=ssl.create_default_context(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def max_images(self) -> int:
        """How many images of a study it takes. Raises `AwayError`."""
        answer = await self._ask("GET", "v1/model")
        try:
            limit = answer.json()["limits"]["max_images"]
        except (ValueError, LookupError, TypeError) as error:
            raise AwayError("service", "it is no such service") from error
        return limit if isinstance(limit, int) and limit > 0 else 1

    async def report(self, files: Sequence[bytes | bytearray], kind: str) -> bytes:
        """The object of a kind, a DICOM file. Raises `RefusedError`, `AwayError` and `StudyFailedError`."""
        parts = [("image", ("image", bytes(file), DICOM)) for file in files]
        headers = {"Accept": DICOM}
        answer = await self._ask("POST", "v1/report", params={"object": kind}, files=parts, headers=headers)
        if answer.headers.get("content-type", "").partition(";")[0] != DICOM:
            raise AwayError("service", "it answers with something else than DICOM")
        return answer.content

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **more)
        except httpx.TimeoutException as error:
            raise AwayError("service", "timeout") from error
        except httpx.HTTPError as error:
            raise AwayError("service", "unreachable") from error
        if answer.status_code == 200:
            return answer
        reason = _problem(answer)
        if answer.status_code in _REFUSALS:
            raise RefusedError(reason)
        if answer.status_code in _FAILURES:
            raise StudyFailedError(reason)
        raise AwayError("service", reason, retry_after(answer.headers))


def _problem(answer: httpx.Response) -> str:
    """The type of the problem, which is of a fixed table; of anything else, the status."""
    try:
        kind = answer.json()["type"]
    except (ValueError, LookupError, TypeError):
        kind = None
    known = isinstance(kind, str) and kind.isascii() and kind.replace("-", "").isalpha() and len(kind) <= 40
    return str(kind) if known else f"status {answer.status_code}"
