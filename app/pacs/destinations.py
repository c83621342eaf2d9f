"""Where the SR and the PDF go: by STOW-RS to the DICOMweb server, or by C-STORE to a peer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Protocol

from pydicom import Dataset, dcmread
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made when the module is loaded
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
)

from app.dicomweb.client import DicomWebClient
from app.dicomweb.errors import (
    DicomWebBusyError,
    DicomWebError,
    NoSuchStudyError,
    RefusedByServerError,
)
from app.dicomweb.uids import is_uid
from app.pacs.errors import AwayError, StudyFailedError

# PS3.4, annex B.2.3 and PS3.7, annex C.5.10: it exists already.
_DUPLICATE = 0x0111
_WARNINGS = range(0xB000, 0xC000)


class Destination(Protocol):
    """Takes the objects made of a study. Its methods raise `AwayError` and `StudyFailedError`."""

    async def has(self, study: str, instance: str) -> bool:
        """Whether the object is known to be there; False where that cannot be asked."""

    async def store(self, study: str, file: bytes) -> None:
        """Stores an object; one that is there already does no harm."""


def identify(file: bytes, study: str) -> str:
    """The SOP instance UID of an object made of this study. Raises `StudyFailedError` when it is of no such object."""
    try:
        header = dcmread(BytesIO(file), stop_before_pixels=True, specific_tags=["SOPInstanceUID", "StudyInstanceUID"])
        of_study, uid = str(header.StudyInstanceUID), str(header.SOPInstanceUID)
    except Exception as error:  # pydicom raises a dozen kinds
        raise StudyFailedError("the service's object cannot be read") from error
    if of_study != study or not is_uid(uid):
        raise StudyFailedError("the service's object is of another study")
    return uid


class DicomWebDestination:
    """The DICOMweb server."""

    def __init__(self, client: DicomWebClient, seconds: float) -> None:
        self._client = client
        self._seconds = seconds

    async def has(self, study: str, instance: str) -> bool:
        """Asks the server."""
        with pacs_errors():
            async with asyncio.timeout(self._seconds):
                return await self._client.has(study, instance)

    async def store(self, study: str, file: bytes) -> None:
        """STOW-RS."""
        with pacs_errors():
            async with asyncio.timeout(self._seconds):
                await self._client.store(study, file)


class PeerDestination:
    """An application entity that takes C-STORE, and cannot be asked what it has."""

    def __init__(self, title: str, host: str, port: int, our_title: str, seconds: float) -> None:
        self._address = host, port, title
        self._entity = entity = AE(our_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = seconds
        for sop_class in (Comprehensive3DSRStorage, EncapsulatedPDFStorage):
            entity.add_requested_context(sop_class)

    async def has(self, study: str, instance: str) -> bool:
        """It cannot say."""
        return False

    async def store(self, study: str, file: bytes) -> None:
        """C-STORE, on an association of its own."""
        await asyncio.to_thread(self._send, dcmread(BytesIO(file)))

    def _send(self, dataset: Dataset) -> None:
        host, port, title = self._address
        association = self._entity.associate(host, port, ae_title=title)
        if not association.is_established:
            raise AwayError("pacs", "no association")
        try:
            status = association.send_c_store(dataset)
        except ValueError as error:  # no presentation context for it
            raise StudyFailedError("the peer does not take such objects") from error
        finally:
            association.release()
        code = status.get("Status")
        if code is None or code & 0xFF00 == 0xA700:  # nothing came, or out of resources
            raise AwayError("pacs", "no answer" if code is None else "out of resources")
        if code not in (0x0000, _DUPLICATE) and code not in _WARNINGS:
            raise StudyFailedError(f"the peer refused with {code:04x}")


@contextmanager
def pacs_errors() -> Iterator[None]:
    """What the DICOMweb server does wrong becomes `AwayError`, or `StudyFailedError` where it concerns one study."""
    try:
        yield
    except (RefusedByServerError, NoSuchStudyError) as error:
        raise StudyFailedError(str(error)) from error
    except DicomWebBusyError as error:
        raise AwayError("pacs", str(error), error.retry_after) from error
    except DicomWebError as error:
        raise AwayError("pacs", str(error)) from error
    except TimeoutError as error:
        raise AwayError("pacs", "timeout") from error
