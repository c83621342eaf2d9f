"""Readers: one a source layout, all yielding `Study` records."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from model_training.data.collection import Collection
from model_training.data.files import reading
from model_training.data.readers import captions_csv, kaggle_csv, labelled_images, openi_xml, r2gen_json


class _Reader(Protocol):
    LAYOUT: str
    NEEDS: str

    def detect(self, root: Path) -> bool: ...

    def read(self, root: Path) -> Collection: ...


_MODULES: tuple[_Reader, ...] = (openi_xml, kaggle_csv, r2gen_json, captions_csv, labelled_images)
_READERS = {r.LAYOUT: r for r in _MODULES}
LAYOUTS: tuple[str, ...] = tuple(_READERS)


def read_collection(path: Path, layout: str | None = None) -> Collection:
    """Reads the collection in a folder, whose layout is told from its files unless given.

    R2Gen's annotation beside another layout of the Indiana collection is that layout's split, so the other is read.
    Raises FileNotFoundError or NotADirectoryError for a bad path, ValueError when no layout fits or several do, or
    when a table is not what its name says.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; give the folder of the collection")
    if layout is None:
        layout = _detect(path)
    elif layout not in _READERS:
        raise ValueError(f"unknown layout {layout!r}; layouts are {', '.join(LAYOUTS)}")
    with reading(path):
        return _READERS[layout].read(path)


def _detect(path: Path) -> str:
    fits = [name for name, reader in _READERS.items() if reader.detect(path)]
    if {openi_xml.LAYOUT, kaggle_csv.LAYOUT} & set(fits) and r2gen_json.LAYOUT in fits:
        fits.remove(r2gen_json.LAYOUT)
    if not fits:
        sought = "; ".join(f"{name}: {reader.NEEDS}" for name, reader in _READERS.items())
        raise ValueError(f"no known layout in {path}. Looked for {sought}")
    if len(fits) > 1:
        raise ValueError(f"{path} fits several layouts: {', '.join(fits)}; choose one with layout= (--layout)")
    return fits[0]
