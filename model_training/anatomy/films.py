"""Films with masks of lungs and heart.

A folder with a `masks.csv`, or a `labels.csv` that says this as well: `file` and `mask` (paths below the folder), any
of `patient`, `split` and `view`; other columns say nothing here. A mask is a greyscale PNG of the whole film in any
size, whose values number `app.inference.chest.STRUCTURES`: 0 background, 1 right lung, 2 left lung, 3 heart, right and
left being the patient's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.images.borders import Pixels
from app.inference.chest import STRUCTURES
from model_training.data.collection import ProblemLog
from model_training.data.files import UnreadableFileError, reading
from model_training.data.images import SHOWN, UnreadableImageError, for_every_image, read_image
from model_training.data.readers.tables import MASKS, ImageFolder, parse_split, parse_view, read_rows
from model_training.data.study import Split

_TABLES = (MASKS, "labels.csv")
DRAWN = STRUCTURES[:4]  # what masks draw
_SHAPE_TOLERANCE = 0.05  # between the proportions of film and mask
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class MaskedFilm:
    """A frontal film as the service decodes it, pixels [H,W] of full scale 255 or 65535, and its mask [h,w] of the same
    part of it."""

    name: str
    patient: str
    pixels: Pixels
    mask: Mask


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of the table, its files found."""

    file: Path
    mask: Path
    patient: str
    split: Split | None


def list_films(root: Path) -> list[Listed]:
    """The films of the folder, without lateral ones; a film of no patient counts as a patient.

    Raises OSError, and `UnreadableFileError` that names what is wrong with the table: columns and rows, files that are
    not there, patients in several splits.
    """
    log, folder, films = ProblemLog(), ImageFolder(root), []
    table = next((root / name for name in _TABLES if (root / name).is_file()), root / MASKS)
    for row in read_rows(table, ("file", "mask"), log):
        name = row["file"].strip()
        split, view = parse_split(row.get("split"), name, log), parse_view(row.get("view"), name, log)
        file, mask = folder.find(name), folder.find(row["mask"])
        for column, path in (("file", file), ("mask", mask)):
            if path is None:
                log.add("missing-image", row[column].strip() or f"the mask of {name}")
        if file and mask and view != "lateral":
            films.append(Listed(file, mask, (row.get("patient") or "").strip() or name, split))
    for patient, count in Counter(patient for patient, _ in {(film.patient, film.split) for film in films}).items():
        if count > 1:
            log.add("patient-in-two-splits", patient)
    if problems := log.problems():
        raise UnreadableFileError(f"{table}: {'; '.join(problem.describe() for problem in problems)}")
    return films


def read_films(listed: Sequence[Listed]) -> list[MaskedFilm]:
    """Decodes films and masks. Raises `UnreadableImageError` that names those which cannot be read."""
    films: dict[int, MaskedFilm] = {}

    def read(index: int) -> None:
        films[index] = _read(listed[index])

    if unreadable := for_every_image([one.file for one in listed], read):
        raise UnreadableImageError("; ".join(unreadable[:SHOWN]))
    return [films[index] for index in range(len(listed))]


def _read(listed: Listed) -> MaskedFilm:
    image, mask = read_image(listed.file), _read_mask(listed.mask)
    across, down = mask.shape[1] / image.width, mask.shape[0] / image.height
    if abs(across / down - 1) > _SHAPE_TOLERANCE:
        raise UnreadableImageError(f"{listed.mask}: it is not of the shape of {listed.file.name}")
    left, top, right, bottom = image.region
    part = mask[round(top * down) : round(bottom * down), round(left * across) : round(right * across)]
    return MaskedFilm(listed.file.stem, listed.patient, image.pixels, part)


def _read_mask(path: Path) -> Mask:
    try:
        with reading(path, "no picture that can be read"), Image.open(path) as image:
            mask = np.array(image)
    except (OSError, UnreadableFileError) as error:
        raise UnreadableImageError(str(error)) from error
    if mask.ndim != 2 or mask.dtype != np.uint8 or mask.max() >= len(DRAWN):
        raise UnreadableImageError(f"{path}: no mask, of greys from 0 to {len(DRAWN) - 1}: {', '.join(DRAWN)}")
    return mask
