"""A running service, asked for reports over HTTP: the one client of ours."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from app.retry import retry_after

_CONNECT_SECONDS = 5.0
_MAX_REASON = 500


class UnreachableError(Exception):
    """The service cannot be reached, or does not answer in time; the message says which."""


class ProblemError(Exception):
    """The service answered with a problem (RFC 9457). `type` is of the service's table, or `status NNN` where somebody
    else answered; `detail` are its words."""

    def __init__(self, status: int, type: str, detail: str = "", retry_after: float | None = None) -> None:  # noqa: A002  # the RFC's name
        super().__init__(type)
        self.status = status
        self.type = type
        self.detail = detail
        self.retry_after = retry_after


class ServiceClient:
    """The service at one address. Proxy variables of the environment are not followed."""

    def __init__(self, url: str, key: str | None, patience_seconds: float, connections: int = 10) -> None:
        """`patience_seconds` is for one answer, the time on the wire included; `connections` may be open at once."""
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            timeout=httpx.Timeout(patience_seconds, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            verify=ssl.create_default_context(),
            trust_env=False,
        )

    def be_patient(self, seconds: float) -> None:
        """From now on an answer may take so long."""
        self._http.timeout = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def model(self) -> dict[str, Any]:
        """What `GET /v1/model` says. Raises `UnreachableError` and `ProblemError`."""
        answer = await self._ask("GET", "v1/model")
        try:
            described = answer.json()
        except ValueError:
            described = None
        if not isinstance(described, dict):
            raise _no_such_service()
        return described

    async def report(
        self,
        files: Sequence[bytes | bytearray],
        accept: str,
        options: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> bytes:
        """The report on the study of these files, as `accept` says. `request_id` keeps the study's place in the queue
        of those told to come back. Raises `UnreachableError` and `ProblemError`."""
        parts = [("image", ("image", bytes(file), "application/octet-stream")) for file in files]
        headers = {"Accept": accept} | ({"X-Request-ID": request_id} if request_id else {})
        answer = await self._ask("POST", "v1/report", params=options, files=parts, headers=headers)
        if answer.headers.get("content-type", "").partition(";")[0] != accept:
            raise _no_such_service()
        return answer.content

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **more)
        except httpx.TimeoutException as error:
            raise UnreachableError("timeout") from error
        except httpx.HTTPError as error:
            raise UnreachableError("unreachable") from error
        if answer.status_code == httpx.codes.OK:
            return answer
        raise _problem(answer)


def _no_such_service() -> ProblemError:
    return ProblemError(404, "not-found", "it answers with something else than such a service")


def _problem(answer: httpx.Response) -> ProblemError:
    try:
        document = answer.json()
    except ValueError:
        document = None
    kind, detail = (document.get("type"), document.get("detail")) if isinstance(document, dict) else (None, None)
    known = isinstance(kind, str) and kind.isascii() and kind.replace("-", "").isalpha() and len(kind) <= 40
    return ProblemError(
        answer.status_code,
        str(kind) if known else f"status {answer.status_code}",
        detail[:_MAX_REASON] if known and isinstance(detail, str) else "",
        retry_after(answer.headers),
    )
