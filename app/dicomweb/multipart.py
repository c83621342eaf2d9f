"""multipart/related, RFC 2387, as DICOMweb wraps objects: read as it arrives and bounded, and written."""

from __future__ import annotations

import secrets

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from app.dicomweb.errors import DicomWebError

DICOM = "application/dicom"


class ObjectReader:
    """The one DICOM object of an answer, in a multipart body or as it is. Raises `DicomWebError` for any other body."""

    def __init__(self, content_type: str | None) -> None:
        media_type, parameters = parse_options_header(content_type)
        self.object = bytearray()
        self._parts = 0
        self._complete = False
        self._parser: MultipartParser | None = None
        if media_type == DICOM.encode():
            return
        if media_type != b"multipart/related" or b"boundary" not in parameters:
            raise DicomWebError("the DICOMweb server answered with something else than a DICOM object")
        callbacks = {"on_part_begin": self._begin, "on_part_data": self._add, "on_end": self._end}
        try:
            self._parser = MultipartParser(parameters[b"boundary"], callbacks)  # type: ignore[arg-type]  # a dict of them
        except FormParserError as error:
            raise _malformed() from error

    def write(self, chunk: bytes) -> None:
        """The next piece of the body."""
        if self._parser is None:
            self.object += chunk
            return
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed() from error

    def finish(self) -> bytearray:
        """The object's bytes."""
        if (self._parser is not None and not self._complete) or not self.object:
            raise _malformed()
        return self.object

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise DicomWebError("the DICOMweb server answered with several objects where one was asked for")

    def _add(self, data: bytes, start: int, end: int) -> None:
        self.object += memoryview(data)[start:end]

    def _end(self) -> None:
        self._complete = True


def _malformed() -> DicomWebError:
    return DicomWebError("the answer of the DICOMweb server is malformed or incomplete")


def enclose(dicom_object: bytes) -> tuple[str, bytes]:
    """The Content-Type and the body that send one DICOM object."""
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
    content_type = f'multipart/related; type="{DICOM}"; boundary={boundary}'
    return content_type, head + dicom_object + f"\r\n--{boundary}--\r\n".encode()
