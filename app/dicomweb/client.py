"""The client of the one configured DICOMweb server: QIDO-RS, WADO-RS and STOW-RS, PS3.18 chapter 10.

dicomweb-client holds whole answers whatever their size, has no limit on how long one may take, and follows redirects;
here an answer is read as it comes, bounded in bytes, to be given up at any moment, and no redirect is followed. UIDs
stand in addresses, so `is_uid` has seen each. Proxy variables of the environment are not followed; OpenSSL's
SSL_CERT_FILE names the authorities to trust.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from app.dicomweb.chest_images import MODALITY, SERIES_UID, STUDY_UID, Instance
from app.dicomweb.errors import (
    DicomWebBusyError,
    DicomWebError,
    DicomWebTimeoutError,
    NoSuchStudyError,
    RefusedByServerError,
    StudyTooLargeError,
)
from app.dicomweb.multipart import DICOM, ObjectReader, enclose
from app.dicomweb.uids import is_uid
from app.retry import retry_after

_JSON = "application/dicom+json"
_INSTANCES = "00201208"  # Number of Study Related Instances
_FAILED, _REASON = "00081198", "00081197"
_DUPLICATE = 0x0111  # PS3.7, annex C.5.10: SOP instance exists already
_MAX_JSON_BYTES = 32 * 2**20
_PAGE = 100
# Of a server that never stops answering with studies, so many are looked at.
_MAX_PAGES = 200
_SILENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study as a search finds it, and how many objects the server has of it, where it says so."""

    uid: str
    instances: int | None


class DicomWebClient:
    """Every method raises `DicomWebError` when the server is away or answers something else than it should."""

    def __init__(self, url: str, authorization: str | None = None) -> None:
        """`authorization` is sent as the header of that name."""
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": authorization} if authorization else {})
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            timeout=_SILENCE_SECONDS,
            verify=ssl.create_default_context(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def studies(self, modality: str, dates: str | None) -> AsyncIterator[FoundStudy]:
        """Studies with an image of this modality, of these dates (`20260131-`) or any."""
        query = {"ModalitiesInStudy": modality, "limit": str(_PAGE)} | ({"StudyDate": dates} if dates else {})
        seen: set[str] = set()
        for page in range(_MAX_PAGES):
            try:
                answer = await self._json("studies", query | {"offset": str(page * _PAGE)})
            except NoSuchStudyError as error:
                raise DicomWebError("the DICOMweb server knows no studies at its address") from error
            for entry in answer:
                uid, count = _first(entry, STUDY_UID), _first(entry, _INSTANCES)
                if is_uid(uid) and uid not in seen:
                    seen.add(uid)
                    yield FoundStudy(
                        uid, int(count) if isinstance(count, int | str) and str(count).isdecimal() else None
                    )
            if len(answer) < _PAGE:  # a server without paging sends more, and all of them
                return

    async def series(self, study: str) -> dict[str, str]:
        """Series UID to modality. Raises `NoSuchStudyError`."""
        answer = await self._json(f"studies/{study}/series")
        found = {_first(entry, SERIES_UID): str(_first(entry, MODALITY) or "").upper() for entry in answer}
        if not found:
            raise NoSuchStudyError
        return {uid: modality for uid, modality in found.items() if is_uid(uid)}

    async def instances(self, study: str, series: str) -> list[Instance]:
        """The headers of a series. Raises `NoSuchStudyError` and, of a series beyond reason, `StudyTooLargeError`."""
        answer = await self._json(f"studies/{study}/series/{series}/metadata")
        found = [instance for instance in map(Instance.of, answer) if instance]
        return [one for one in found if one.study == study and one.series == series]

    async def retrieve(self, one: Instance, max_bytes: int, hold: Callable[[bytes], None]) -> bytearray:
        """An object's file as it is stored. `hold` sees every piece before it is kept, and may refuse by raising.

        Raises `NoSuchStudyError`, and `StudyTooLargeError` beyond `max_bytes`.
        """
        path = f"studies/{one.study}/series/{one.series}/instances/{one.uid}"
        accept = f'multipart/related; type="{DICOM}"; transfer-syntax=*'
        async with self._answer("GET", path, headers={"Accept": accept}) as answer:
            reader = ObjectReader(answer.headers.get("content-type"))
            async for chunk in _pieces(answer):
                if len(reader.object) + len(chunk) > max_bytes:
                    raise StudyTooLargeError(f"an image has more than {max_bytes} bytes")
                hold(chunk)
                reader.write(chunk)
            return reader.finish()

    async def has(self, study: str, instance: str) -> bool:
        """Whether the server has this object of the study."""
        answer = await self._json(f"studies/{study}/instances", {"SOPInstanceUID": instance})
        return any(_first(entry, "00080018") == instance for entry in answer)

    async def store(self, study: str, dicom_object: bytes) -> None:
        """Adds an object to a study; one that is there already stays. Raises `RefusedByServerError`."""
        content_type, body = enclose(dicom_object)
        headers = {"Content-Type": content_type, "Accept": _JSON}
        async with self._answer("POST", f"studies/{study}", headers=headers, content=body, refusals=(409,)) as answer:
            said = await _read(answer, _MAX_JSON_BYTES)
        if answer.status_code != 409:
            return
        try:
            failed = [entry[_REASON]["Value"][0] for entry in json.loads(said)[_FAILED]["Value"]]
        except (ValueError, LookupError, TypeError):
            failed = []
        if failed != [_DUPLICATE]:
            raise RefusedByServerError("the DICOMweb server does not take the object")

    async def _json(self, path: str, query: Mapping[str, str] | None = None) -> list[Mapping[str, Any]]:
        async with self._answer("GET", path, headers={"Accept": _JSON}, query=query) as answer:
            said = await _read(answer, _MAX_JSON_BYTES)
        if not said:  # 204: nothing found
            return []
        try:
            entries = json.loads(said)
        except (ValueError, RecursionError) as error:
            raise DicomWebError("the DICOMweb server answered with something else than DICOM JSON") from error
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DicomWebError("the DICOMweb server answered with something else than a list of data sets")
        return entries

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        refusals: tuple[int, ...] = (),
    ) -> AsyncIterator[httpx.Response]:
        try:
            async with self._http.stream(method, path, params=query, headers=headers, content=content) as answer:
                if answer.status_code not in refusals:
                    _check(answer)
                yield answer
        except httpx.TimeoutException as error:
            raise DicomWebTimeoutError from error
        except httpx.HTTPError as error:
            raise DicomWebError("the DICOMweb server cannot be reached") from error


def _check(answer: httpx.Response) -> None:
    status = answer.status_code
    if status in (404, 410):
        raise NoSuchStudyError
    if status in (429, 503):
        raise DicomWebBusyError(retry_after(answer.headers))
    if status in (408, 504):
        raise DicomWebTimeoutError
    if status in (400, 406, 413, 415, 422):
        raise RefusedByServerError(f"the DICOMweb server refused with {status}")
    if 300 <= status < 400:
        raise DicomWebError("the DICOMweb server answered with a redirect, and none is followed")
    if status >= 300:
        raise DicomWebError(f"the DICOMweb server answered with {status}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise DicomWebError("the DICOMweb server compressed its answer, which it was asked not to")


async def _pieces(answer: httpx.Response) -> AsyncIterator[bytes]:
    async for chunk in answer.aiter_raw():
        yield chunk


async def _read(answer: httpx.Response, limit: int) -> bytes:
    said = bytearray()
    async for chunk in _pieces(answer):
        said += chunk
        if len(said) > limit:
            raise StudyTooLargeError(f"what the DICOMweb server says of a study has more than {limit} bytes")
    return bytes(said)


def _first(entry: Mapping[str, Any], tag: str) -> Any:
    element = entry.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None
