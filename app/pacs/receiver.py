"""Takes images by C-STORE and answers C-ECHO, PS3.4 annexes A and B: for those whose PACS speaks no DICOMweb.

Only images as radiographs come are taken: what is not negotiated, SRs and PDFs above all, cannot be sent to us.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made when the module is loaded
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
    Verification,
)
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from app.dicomweb.header import read_instance
from app.pacs.errors import PacsError
from app.pacs.metrics import PacsMetrics
from app.pacs.spool import Spool, SpoolFullError
from app.settings import Settings

logger = logging.getLogger(__name__)

_CLASSES = (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage)
# Deflated is not among them: pydicom inflates without a bound. What the service cannot decode it refuses by name.
_SYNTAXES = [
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
]
# PS3.4, table B.2-1.
_SUCCESS, _OUT_OF_RESOURCES, _NOT_THE_CLASS, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000
_MAX_PDU_BYTES = 2**17
_PDU_SECONDS = 30.0
_ACSE_SECONDS = 10.0
# What a message has beside its object, and more than one that is refused has in all.
_SLACK_BYTES = 2**20
# Connections on which no association was asked for yet, beside as many as may be associated.
_MAX_UNASSOCIATED = 16


class Receiver:
    """The C-STORE and C-ECHO provider, on threads of pynetdicom."""

    def __init__(self, spool: Spool, settings: Settings, metrics: PacsMetrics) -> None:
        """Listens. Raises `PacsError` where it cannot."""
        self._spool = spool
        self._settings = settings
        self._metrics = metrics
        entity = AE(settings.pacs_ae_title)
        entity.maximum_associations = settings.pacs_max_associations
        entity.maximum_pdu_size = _MAX_PDU_BYTES
        entity.acse_timeout = _ACSE_SECONDS
        entity.dimse_timeout = entity.network_timeout = _PDU_SECONDS
        entity.require_called_aet = True
        entity.require_calling_aet = list(settings.pacs_calling_ae_titles)
        entity.add_supported_context(Verification)
        for sop_class in _CLASSES:
            entity.add_supported_context(sop_class, _SYNTAXES)
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, self._bound), (evt.EVT_C_STORE, self._store)]
        address = (settings.pacs_dicom_host, settings.pacs_dicom_port or 0)
        try:
            server = entity.start_server(address, block=False, evt_handlers=handlers)
        except OSError as error:
            raise PacsError(f"cannot listen on {address[0]} port {address[1]}: {error.strerror}") from error
        assert isinstance(server, ThreadedAssociationServer)  # noqa: S101  # as it does not block
        server.verify_request = self._has_room  # type: ignore[method-assign, assignment]  # any number of connections otherwise
        self._server = server
        logger.info("receiving", extra={"host": address[0], "port": self.port})

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Aborts what is under way: what was not answered with success is sent again by its sender."""
        for association in self._server.active_associations:
            if association.is_established:
                association.abort()
            elif connection := association.dul.socket:  # before it is, pynetdicom's thread raises if it is to abort
                connection.close()
        self._server.shutdown()

    def _bound(self, event: Event) -> None:
        """pynetdicom itself takes any PDU and any object whatever their size."""
        socket = event.assoc.dul.socket
        if socket is None:
            return
        reader = _BoundedReader(socket, self._settings.max_image_bytes + _SLACK_BYTES)
        socket.recv = reader.recv  # type: ignore[method-assign]  # its only way in
        event.assoc.bind(evt.EVT_DIMSE_RECV, reader.message_ended)

    def _has_room(self, request: object, address: object) -> bool:
        """Whether another connection is taken. One on which nothing is asked for counts for `_ACSE_SECONDS`."""
        return len(self._server.active_associations) < self._settings.pacs_max_associations + _MAX_UNASSOCIATED

    def _store(self, event: Event) -> int:
        try:
            status, outcome = self._keep(event)
        except Exception:
            logger.exception("a received object could not be kept")
            status, outcome = _OUT_OF_RESOURCES, "out_of_resources"
        self._metrics.received(outcome)
        return status

    def _keep(self, event: Event) -> tuple[int, str]:
        file = event.encoded_dataset()
        instance = read_instance(file)
        if instance is None:
            return _NOT_UNDERSTOOD, "not_understood"
        if instance.sop_class != event.request.AffectedSOPClassUID:
            return _NOT_THE_CLASS, "not_understood"
        if len(file) > self._settings.max_image_bytes:
            return _OUT_OF_RESOURCES, "refused"
        try:
            self._spool.add(instance, file)
        except (SpoolFullError, OSError) as error:
            logger.warning("no room for a received object", extra={"reason": type(error).__name__})
            return _OUT_OF_RESOURCES, "out_of_resources"
        return _SUCCESS, "stored"


class _BoundedReader:
    """Reads PDUs of one association, each within a time, and not more bytes than a message may have."""

    def __init__(self, association: AssociationSocket, max_message_bytes: int) -> None:
        self._association = association
        self._max_message_bytes = max_message_bytes
        self._message_bytes = 0

    def message_ended(self, event: Event) -> None:
        """The next one may be as large again."""
        self._message_bytes = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes, fewer where the peer closes. An `OSError` ends the association."""
        self._message_bytes += nr_bytes
        if nr_bytes > _MAX_PDU_BYTES + _SLACK_BYTES or self._message_bytes > self._max_message_bytes:
            raise OSError("more bytes than a message may have")
        read = bytearray()
        until = time.monotonic() + _PDU_SECONDS
        while len(read) < nr_bytes and self._association.socket is not None:
            if time.monotonic() > until:
                raise TimeoutError
            piece = self._association.socket.recv(min(65_536, nr_bytes - len(read)))
            if not piece:
                break
            read += piece
        return read
