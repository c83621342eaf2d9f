"""A study's chest images, fetched."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.dicomweb.chest_images import MODALITIES, Instance, choose
from app.dicomweb.errors import NoChestImagesError, StudyTooLargeError

# Its HTTP client is slow to import, and not everybody fetches.
if TYPE_CHECKING:
    from app.dicomweb.client import DicomWebClient


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Of what is fetched of one study."""

    max_images: int
    max_image_bytes: int
    max_bytes: int


async def find_images(
    client: DicomWebClient, study: str, series: str | None, max_images: int, modalities: Collection[str] = MODALITIES
) -> list[Instance]:
    """The images to report on, of one series or, of the modalities, of all. Raises `NoSuchStudyError`."""
    if series is not None:  # whoever names it has chosen
        return choose(await client.instances(study, series), max_images, None)
    found: list[Instance] = []
    for uid, modality in (await client.series(study)).items():
        if modality in modalities:
            found += await client.instances(study, uid)
    return choose(found, max_images, modalities)


async def fetch_images(
    client: DicomWebClient, chosen: Collection[Instance], limits: FetchLimits, hold: Callable[[bytes], None]
) -> list[bytearray]:
    """Their files, in this order. `hold` sees every piece before it is kept, and may refuse by raising.

    Raises `NoChestImagesError` when none is chosen, `NoSuchStudyError`, `StudyTooLargeError` and `DicomWebError`.
    """
    if not chosen:
        raise NoChestImagesError
    files: list[bytearray] = []
    room = limits.max_bytes
    for one in chosen:
        if room <= 0:
            raise StudyTooLargeError(f"the images have more than {limits.max_bytes} bytes")
        files.append(await client.retrieve(one, min(limits.max_image_bytes, room), hold))
        room -= len(files[-1])
    return files
