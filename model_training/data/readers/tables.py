"""What all readers share: tables, image files, and the meaning of single fields."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from model_training.data.collection import SPLITS, ProblemLog
from model_training.data.files import UnreadableFileError, text_encoding
from model_training.data.study import Split, StudyImage, View

# Where images lie beside their table, in the archives that circulate.
MASKS = "masks.csv"  # which names films with masks of lungs and heart
IMAGE_FOLDERS = (
    ".",
    "images",
    "images/images_normalized",
    "images_normalized",
    "NLMCXR_png",
    "images/NLMCXR_png",
    "png",
    "radiology/extract",
)

Spellings = Callable[[str], tuple[str, ...]]

# Fed to the CSV reader after the last line: a row that holds it has a quote that nothing closes.
_END = "\ue000 end of file \ue000"
_SHOWN = 200  # characters of a header that an error repeats
_ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".gif", ".tif", ".tiff")

# "#NAME?" is what a spreadsheet left where a text began with a dash.
_NOTHING = frozenset({"", "none", "nan", "null", "n/a", "na", "#name?", "not available"})
_VIEWS: dict[str, View] = {
    **dict.fromkeys(("frontal", "pa", "ap", "pa erect", "ap erect", "ap supine", "ap portable"), "frontal"),
    **dict.fromkeys(("lateral", "l", "ll", "rl", "lat", "left lateral", "right lateral"), "lateral"),
}
_SPLITS: dict[str, Split] = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("training",), "train"),
    **dict.fromkeys(("valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("testing",), "test"),
}


def section(text: str | None) -> str:
    """A report section on one line; empty when it holds nothing, or only says so ("None.")."""
    line = " ".join((text or "").split())
    empty = line.strip(" .").lower() in _NOTHING or not any(map(str.isalnum, line))
    return "" if empty else line


def parse_view(text: str | None, name: str, log: ProblemLog) -> View | None:
    """The projection a field names; an unknown word is noted for `name`, an empty field is not."""
    word = (text or "").strip().lower()
    if word and word not in _VIEWS:
        log.add("unknown-view", name)
    return _VIEWS.get(word)


def parse_split(text: str | None, name: str, log: ProblemLog) -> Split | None:
    """The split a field names; an unknown word is noted for `name`, an empty field is not."""
    word = (text or "").strip().lower()
    if word and word not in _SPLITS:
        log.add("unknown-split", name)
    return _SPLITS.get(word)


def read_rows(path: Path, required: tuple[str, ...], log: ProblemLog) -> Iterator[dict[str, str]]:
    """Rows of a CSV file with a header, as column name in lower case to text.

    Rows of another length than the header, without the first of the required columns, with a quote that nothing closes
    or with bytes that are no text are noted as `file:line` or `file:lines` and left out. Raises OSError, and
    `UnreadableFileError` when a required column lacks or the header cannot be read.
    """
    with path.open(encoding=text_encoding(path), errors="replace", newline="") as file:
        reader = csv.reader(chain(file, [_END]))
        header = _header(path, reader, required)
        while True:
            before = reader.line_num
            try:
                cells: list[str] | None = next(reader)
            except StopIteration:
                return
            except csv.Error:
                cells = None
            if not cells or cells == [_END]:  # a blank line is nobody's row
                if cells is None:
                    log.add("unreadable-row", f"{path.name}:{before + 1}-{reader.line_num}")
                continue
            lines = f"{path.name}:{reader.line_num}"
            row = dict(zip(header, cells, strict=False))
            if _END in "".join(cells):
                log.add("unreadable-row", f"{path.name}:{before + 1}-{reader.line_num - 1} (its quote is not closed)")
            elif len(cells) == len(header) and row[required[0]].strip() and all(map(is_text, cells)):
                if any("\ufffd" in cell for cell in cells):
                    log.add("undecodable-text", lines)
                yield row
            else:
                log.add("unreadable-row", lines)


def is_text(value: Any) -> bool:
    """Whether a value is text that can be written: without NUL, which no file name holds, and lone surrogates."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _header(path: Path, reader: Any, required: Sequence[str]) -> list[str]:
    """The names of the columns, in lower case. Raises `UnreadableFileError`."""
    try:
        cells: list[str] = next(reader, [])
    except csv.Error as error:
        raise UnreadableFileError(f"{path}: the quote that opens in its header is not closed ({error})") from error
    if _END in "".join(cells) and cells != [_END]:
        raise UnreadableFileError(f"{path}: the quote that opens in its header is not closed")
    if not all(map(is_text, cells)):
        raise UnreadableFileError(f"{path}: it holds NUL bytes; save it as text in UTF-8")
    header = [name.strip().lower() for name in cells if name != _END]
    if missing := [name for name in required if name not in header]:
        known = " ".join(", ".join(header).split())[:_SHOWN]
        raise UnreadableFileError(f"{path} has no column {', '.join(missing)}; it has {known or 'none'}")
    return header


class ImageFolder:
    """Finds image files by the names a table gives them, listing each folder once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = [root / folder for folder in IMAGE_FOLDERS if (root / folder).is_dir()]
        self._files: dict[Path, frozenset[str]] = {}
        self._bare: dict[Path, dict[str, str]] = {}

    def find(self, *names: str) -> Path | None:
        """The first of these names that is a file in a usual folder; a name that leads above the root is none."""
        for name in names:
            relative = PurePosixPath(name.strip().replace("\\", "/"))
            if relative.is_absolute() or ".." in relative.parts:
                continue
            for folder in self._folders:
                path = folder / relative
                if path.name in self._list(path.parent):
                    return path
        return None

    def images(
        self, named: Iterable[tuple[str, View | None]], log: ProblemLog, spellings: Spellings = lambda name: (name,)
    ) -> tuple[StudyImage, ...]:
        """Those of the named images that exist; the others are noted as missing.

        Frontal comes before lateral before unknown, each by file name: the same order in every layout.
        """
        found: list[StudyImage] = []
        for name, view in named:
            if path := self.find(*spellings(name)):
                found.append(StudyImage(path, view))
            else:
                meant = self._meant(name)
                log.add("missing-image", f"{name} ({meant} is there)" if meant else name)
        views = ("frontal", "lateral", None)
        return tuple(sorted(found, key=lambda image: (views.index(image.view), image.path.name)))

    def _list(self, folder: Path) -> frozenset[str]:
        if folder not in self._files:
            try:
                with os.scandir(folder) as entries:
                    self._files[folder] = frozenset(entry.name for entry in entries if entry.is_file())
            except (OSError, ValueError):  # ValueError for a name that no file can have
                self._files[folder] = frozenset()
        return self._files[folder]

    def _meant(self, name: str) -> str:
        """The file below the root whose name is nearly this one: in another of the usual folders, with another ending
        or none, or in other letters; "" for none."""
        relative = PurePosixPath(name.strip().replace("\\", "/"))
        for folder in dict.fromkeys(chain(self._folders, (folder / relative.parent for folder in self._folders))):
            if ".." in folder.parts or not folder.is_relative_to(self._root):
                continue
            if folder not in self._bare:
                self._bare[folder] = {_bare(file): file for file in sorted(self._list(folder), reverse=True)}
            if file := self._bare[folder].get(_bare(relative.name)):
                return (folder / file).relative_to(self._root).as_posix()
        return ""


def _bare(name: str) -> str:
    """A file name in small letters and without the endings of images."""
    bare = name.casefold()
    while bare.endswith(_ENDINGS):
        bare = bare.rpartition(".")[0]
    return bare
