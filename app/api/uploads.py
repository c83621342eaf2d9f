"""The body of a report request: images and form fields, bounded in bytes, parts and time before they are held.

Everything stays in memory: an upload never touches the disk. File names and declared types are read past.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from app.api.headers import joined
from app.api.problems import Problem
from app.api.study_reference import StudyReference, parse_reference

REFERENCE = "application/json"
MAX_REFERENCE_BYTES = 1024
IMAGE_TYPES = ("image/png", "image/jpeg", "application/dicom")
MULTIPART = "multipart/form-data"
ACCEPT_POST = {"Accept-Post": ", ".join((MULTIPART, *IMAGE_TYPES))}
MAX_FIELDS = 32
MAX_FIELD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Bounds of one upload; the deadline runs from the request's head to its last byte."""

    max_body_bytes: int
    max_image_bytes: int
    max_images: int
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Upload:
    """The images' bytes in the order sent, or where to have them, and the form fields."""

    images: list[bytearray] = field(default_factory=list)
    reference: StudyReference | None = None
    fields: list[tuple[str, str]] = field(default_factory=list)


async def receive_upload(request: Request, limits: UploadLimits, hold: Callable[[bytes], None]) -> Upload:
    """Reads a multipart or raw body, or a reference. `hold` is given each chunk before it is kept, and may refuse it.

    Raises the problems malformed-request, request-timeout, payload-too-large, unsupported-media-type and
    client-closed-request.
    """
    reader = _reader(request, limits)
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > limits.max_body_bytes:
        raise _too_large("the request", limits.max_body_bytes)
    received = 0
    try:
        async with asyncio.timeout(limits.deadline_seconds):
            async for chunk in request.stream():
                received += len(chunk)
                if received > limits.max_body_bytes:
                    raise _too_large("the request", limits.max_body_bytes)
                hold(chunk)
                reader.write(chunk)
    except TimeoutError as error:
        raise Problem("request-timeout") from error
    except ClientDisconnect as error:
        raise Problem("client-closed-request") from error
    except FormParserError as error:
        raise Problem("malformed-request", "The multipart body is malformed.") from error
    return reader.finish()


def _reader(request: Request, limits: UploadLimits) -> _RawReader | _MultipartReader | _ReferenceReader:
    encodings = {part.strip().lower() for part in joined(request.headers, "content-encoding").split(",")}
    if not encodings <= {"identity", ""}:
        raise Problem("unsupported-media-type", "A compressed body is not supported.", {"Accept-Encoding": "identity"})
    if len(request.headers.getlist("content-type")) > 1:
        raise Problem("malformed-request", "Content-Type is given more than once.")
    media_type, parameters = parse_options_header(request.headers.get("content-type"))
    kind = media_type.decode("latin-1").lower()
    if kind == REFERENCE:
        return _ReferenceReader()
    if kind != MULTIPART:
        return _RawReader(limits)
    try:
        return _MultipartReader(parameters[b"boundary"], limits)
    except (KeyError, FormParserError) as error:
        raise Problem("malformed-request", "The multipart boundary is missing or not valid.") from error


class _RawReader:
    """The body is the image, whatever it is declared to be: what it is shows when it is decoded."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._image = bytearray()

    def write(self, chunk: bytes) -> None:
        self._image += chunk
        if len(self._image) > self._limits.max_image_bytes:
            raise _too_large("an image", self._limits.max_image_bytes)

    def finish(self) -> Upload:
        if not self._image:
            raise Problem("malformed-request", "The request holds no image.")
        return Upload([self._image])


class _ReferenceReader:
    """The body names the study."""

    def __init__(self) -> None:
        self._body = bytearray()

    def write(self, chunk: bytes) -> None:
        self._body += chunk
        if len(self._body) > MAX_REFERENCE_BYTES:
            raise _too_large("the reference to a study", MAX_REFERENCE_BYTES)

    def finish(self) -> Upload:
        return Upload(reference=parse_reference(self._body))


class _MultipartReader:
    """RFC 7578: parts named `image` are images, others options. Written to by python-multipart's callbacks."""

    def __init__(self, boundary: bytes, limits: UploadLimits) -> None:
        self._limits = limits
        self._upload = Upload()
        self._name = ""
        self._value = bytearray()
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header_name,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def finish(self) -> Upload:
        self._parser.finalize()
        if not self._complete:
            raise Problem("malformed-request", "The multipart body ends before its last boundary.")
        if not self._upload.images:
            raise Problem("malformed-request", "The request holds no part named image.")
        return self._upload

    def _begin_part(self) -> None:
        self._disposition = b""
        self._value = bytearray()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            if self._disposition:
                raise Problem("malformed-request", "A part has more than one Content-Disposition.")
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        self._name = parameters.get(b"name", b"").decode("utf-8", "replace")
        upload = self._upload
        if self._name == "image":
            if len(upload.images) >= self._limits.max_images:
                raise Problem("payload-too-large", f"A study has at most {self._limits.max_images} images.")
        elif b"filename" in parameters:
            raise Problem("malformed-request", "Files must be sent in parts named image.")
        elif len(upload.fields) >= MAX_FIELDS:
            raise Problem("payload-too-large", f"A form has at most {MAX_FIELDS} fields.")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._value += memoryview(data)[start:end]
        what, limit = "a field", MAX_FIELD_BYTES
        if self._name == "image":
            what, limit = "an image", self._limits.max_image_bytes
        if len(self._value) > limit:
            raise _too_large(what, limit)

    def _end_part(self) -> None:
        if self._name == "image":
            self._upload.images.append(self._value)
        else:
            self._upload.fields.append((self._name, self._value.decode("utf-8", "replace")))

    def _end(self) -> None:
        self._complete = True


def _too_large(what: str, limit: int) -> Problem:
    return Problem("payload-too-large", f"{what.capitalize()} may have at most {limit} bytes.")
