"""What all readers share: tables, image files, and the meaning of single fields."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from model_training.data.collection import SPLITS, ProblemLog
from model_training.data.study import Split, StudyImage, View

# Where images lie beside their table, in the archives that circulate.
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

# "#NAME?" is what a spreadsheet left where a text began with a dash.
_NOTHING = frozenset({"", "none", "nan", "null", "n/a", "na", "#name?", "not available"})
_VIEWS: dict[str, View] = {
    **dict.fromkeys(("frontal", "pa", "ap"), "frontal"),
    **dict.fromkeys(("lateral", "ll", "rl"), "lateral"),
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

    Rows of another length than the header, or without the first of the required columns, are noted as `file:line` and
    left out. Raises ValueError when a required column lacks.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip().lower() for name in next(reader, [])]
        if missing := [name for name in required if name not in header]:
            raise ValueError(f"{path.name} has no column {', '.join(missing)}; it has {', '.join(header) or 'none'}")
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                cells = ["unreadable"] * (len(header) + 1)
            where = f"{path.name}:{reader.line_num}"
            row = dict(zip(header, cells, strict=False))
            if len(cells) == len(header) and row[required[0]].strip():
                if any("\ufffd" in cell for cell in cells):
                    log.add("undecodable-text", where)
                yield row
            elif cells:  # a blank line is nobody's row
                log.add("unreadable-row", where)


class ImageFolder:
    """Finds image files by the names a table gives them, listing each folder once."""

    def __init__(self, root: Path) -> None:
        self._folders = [root / folder for folder in IMAGE_FOLDERS if (root / folder).is_dir()]
        self._files: dict[Path, frozenset[str]] = {}

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
                log.add("missing-image", name)
        views = ("frontal", "lateral", None)
        return tuple(sorted(found, key=lambda image: (views.index(image.view), image.path.name)))

    def _list(self, folder: Path) -> frozenset[str]:
        if folder not in self._files:
            try:
                with os.scandir(folder) as entries:
                    self._files[folder] = frozenset(entry.name for entry in entries if entry.is_file())
            except OSError:
                self._files[folder] = frozenset()
        return self._files[folder]
