"""A study named instead of sent: `{"dicomweb": {"study": UID, "series": UID}}`, fetched from the configured server.

A request never says from where.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.api.problems import Problem
from app.api.service import Service
from app.dicomweb.errors import (
    DicomWebBusyError,
    DicomWebError,
    DicomWebTimeoutError,
    NoChestImagesError,
    NoSuchStudyError,
    StudyTooLargeError,
)
from app.dicomweb.study import FetchLimits, fetch_images, find_images
from app.dicomweb.uids import MAX_LENGTH, PATTERN

Uid = Annotated[str, Field(pattern=PATTERN, max_length=MAX_LENGTH, description="Digits and dots, by PS3.5, 9.1.")]
_STRICT = ConfigDict(extra="forbid", strict=True)
PROBLEMS = ("study-not-found", "unsupported-modality", "dicomweb-not-configured", "dicomweb-failed", "dicomweb-busy",
            "dicomweb-timeout")  # fmt: skip


class DicomWebStudy(BaseModel):
    """A study of the configured DICOMweb server, or one series of it."""

    model_config = _STRICT

    study: Uid
    series: Uid | None = None


class StudyReference(BaseModel):
    """Where the images of a study are to be had."""

    model_config = _STRICT

    dicomweb: DicomWebStudy


def parse_reference(body: bytes | bytearray) -> StudyReference:
    """Raises the problem malformed-request."""
    try:
        return StudyReference.model_validate_json(body)
    except ValidationError as error:
        detail = (
            'The body must be {"dicomweb": {"study": UID}}, or with a "series" beside the study; UIDs by PS3.5, 9.1.'
        )
        raise Problem("malformed-request", detail) from error


async def fetch_study(service: Service, reference: StudyReference, hold: Callable[[bytes], None]) -> list[bytearray]:
    """The chest images of a study, frontal views first and at most as many as a study may have.

    `hold` is given every piece before it is kept, and may refuse by raising. Raises the problems of `PROBLEMS` and
    payload-too-large.
    """
    client, settings = service.dicomweb, service.settings
    if client is None:
        raise Problem("dicomweb-not-configured", "The service has no DICOMweb server to fetch from; send the images.")
    limits = FetchLimits(service.max_images, settings.max_image_bytes, settings.max_body_bytes)
    named = reference.dicomweb
    try:
        async with asyncio.timeout(settings.dicomweb_deadline_seconds):
            chosen = await find_images(client, named.study, named.series, limits.max_images)
            return await fetch_images(client, chosen, limits, hold)
    except NoSuchStudyError as error:
        raise Problem("study-not-found") from error
    except NoChestImagesError as error:
        raise Problem("unsupported-modality", _sentence(error)) from error
    except StudyTooLargeError as error:
        raise Problem("payload-too-large", _sentence(error)) from error
    except DicomWebBusyError as error:
        seconds = 5.0 if error.retry_after is None else min(error.retry_after, 3600.0)
        raise Problem("dicomweb-busy", headers={"Retry-After": str(max(1, math.ceil(seconds)))}) from error
    except (DicomWebTimeoutError, TimeoutError) as error:
        raise Problem("dicomweb-timeout") from error
    except DicomWebError as error:
        raise Problem("dicomweb-failed", _sentence(error)) from error


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[0].upper()}{text[1:]}."
