"""The images of a collection, decoded as the service decodes them, and those that cannot be, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from app.images.decode import DecodedImage, decode_image
from app.images.errors import DecodeError
from model_training.data.study import Study
from model_training.progress import Progress

SHOWN = 5


class UnreadableImageError(ValueError):
    """Images that cannot be decoded; the message names the files and says what is wrong."""


def read_image(path: Path, network_size: int | None = None) -> DecodedImage:
    """The decoded file, as `decode_image` has it. Raises `UnreadableImageError`, whatever kept it from being read."""
    try:
        return decode_image(path.read_bytes(), network_size=network_size)
    except DecodeError as error:
        reason = str(error)
    except (OSError, ValueError) as error:  # ValueError for a name that no file can have
        reason = getattr(error, "strerror", None) or str(error)
    raise UnreadableImageError(f"{path}: {reason}")


def for_every_image(paths: Sequence[Path], use: Callable[[int], object], title: str = "decode") -> list[str]:
    """Calls `use` for the index of every path, several at a time and with a progress bar; returns the words of the
    `UnreadableImageError`s it raised, in order."""

    def attempt(index: int) -> str:
        try:
            use(index)
        except UnreadableImageError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor() as pool, Progress(title, len(paths), "image") as progress:
        said = []
        for words in pool.map(attempt, range(len(paths))):
            said.append(words)
            progress.advance()
    return [words for words in said if words]


def unreadable_images(studies: Iterable[Study]) -> list[str]:
    """Decodes every image of the studies once; file and reason of each that cannot be."""
    images = chain.from_iterable(study.images for study in studies)
    paths = list(dict.fromkeys(image.path for image in images))
    return for_every_image(paths, lambda index: read_image(paths[index]))


def refuse(unreadable: Sequence[str], total: int) -> None:
    """Raises `UnreadableImageError` that names the first of the images and says what to do, where there are any."""
    if unreadable:
        more = f"; and {len(unreadable) - SHOWN:,} more" if len(unreadable) > SHOWN else ""
        raise UnreadableImageError(
            f"{len(unreadable):,} of {total:,} images cannot be read: {'; '.join(unreadable[:SHOWN])}{more}. Replace"
            " these files or take them out of the collection; `describe --images` names all of them"
        )
