"""The studies of a folder, or of a table.

Only the list is held, a few hundred bytes a file: files are read when it is their turn. DICOM files are told by their
content and belong to the study that their header names, wherever they lie.
"""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.bulk.study import Grouping, Problem, StopError, Study
from app.dicomweb.chest_images import Instance, choose

_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_HEAD = 132
# Names of files may hold anything; that of a study stands on one line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NO_IMAGE = Problem("no-chest-image", "The study has no image of the chest as radiographs come.")


@dataclass(frozen=True, slots=True)
class Listing:
    """Studies in the order they are reported on; their files are relative to `root`. `passed_over` files are none."""

    root: Path
    studies: list[Study]
    passed_over: int = 0


def list_studies(source: Path, grouping: Grouping, max_images: int, seen: Callable[[int], None]) -> Listing:
    """The studies of a folder, or of a CSV file. `seen` is told how many files were looked at. Raises `StopError`."""
    if source.is_dir():
        return _list_folder(source, grouping, max_images, seen)
    try:
        return Listing(source.parent, list(_list_table(source, max_images)))
    except OSError as error:
        raise StopError(f"{source}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise StopError(f"{source}: neither a folder nor a CSV file in UTF-8") from error


def _list_folder(folder: Path, grouping: Grouping, max_images: int, seen: Callable[[int], None]) -> Listing:
    dicom: dict[str, dict[str, tuple[Instance, str]]] = defaultdict(dict)
    others: dict[str, list[str]] = defaultdict(list)
    passed_over = 0
    for number, path in enumerate(_files(folder), 1):
        seen(number)
        name = path.relative_to(folder).as_posix()
        kind = _kind(path)
        if kind is None:
            passed_over += 1
        elif kind == "dicom" and (instance := _instance(path)):
            dicom[instance.study][instance.uid] = instance, name
        else:
            key = name if grouping == "file" else path.parent.relative_to(folder).as_posix()
            others[key].append(name)
    studies = [_of_images(key, files, max_images) for key, files in others.items()]
    studies += [_of_dicom(uid, found, max_images) for uid, found in dicom.items()]
    return Listing(folder, studies, passed_over)


def _files(folder: Path) -> Iterator[Path]:
    """In one order at every run. Links to folders are not followed: they may lead round in a circle."""

    def fail(error: OSError) -> None:
        raise StopError(f"{error.filename}: {error.strerror}")  # or its studies would be missing without a word

    for here, folders, files in os.walk(folder, onerror=fail):  # Path.walk is there from Python 3.12 on
        folders.sort()
        yield from (Path(here, name) for name in sorted(files))


def _kind(path: Path) -> str | None:
    """By content, else by name: a damaged image is a study with a problem, not a file to be passed over."""
    from app.images.formats import looks_like_dicom

    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        head = b""
    if looks_like_dicom(head):
        return "dicom"
    return "image" if head.startswith(_SIGNATURES) or path.suffix.lower() in _SUFFIXES else None


def _instance(path: Path) -> Instance | None:
    from app.dicomweb.header import read_instance
    from app.images.dicom.header import quiet

    with quiet():
        return read_instance(path)


def _of_dicom(uid: str, found: dict[str, tuple[Instance, str]], max_images: int) -> Study:
    """Radiographs of the chest as a PACS would be asked for, of other modalities where there are none."""
    instances = [instance for instance, _ in found.values()]
    chosen = choose(instances, max_images) or choose(instances, max_images, None)
    if not chosen:
        return Study(uid, tuple(name for _, name in found.values()), _NO_IMAGE)
    return Study(uid, tuple(found[one.uid][1] for one in chosen))


def _of_images(name: str, files: Iterable[str], max_images: int) -> Study:
    key = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", name)
    files = tuple(files)
    if len(files) > max_images:
        detail = f"A study has at most {max_images} images."
        return Study(key, files, Problem("payload-too-large", detail))
    return Study(key, files)


def _list_table(path: Path, max_images: int) -> Iterator[Study]:
    """A column `image` of paths, and `study` where some belong together; others are not looked at."""
    studies: dict[str, list[str]] = defaultdict(list)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        if "image" not in (rows.fieldnames or ()):
            raise StopError(f"{path}: it has no column image")
        for row in rows:
            image = (row["image"] or "").strip()
            if not image or "\0" in image:
                raise StopError(f"{path}: line {rows.line_num} names no image")
            studies[(row.get("study") or "").strip() or image].append(image)
    yield from (_of_images(key, files, max_images) for key, files in studies.items())
