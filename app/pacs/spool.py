"""Studies received and not dealt with yet, on disk: a folder a study, a file an object, all named by hashes.

An object is answered with success once its file is there to stay, so what a modality was told was taken is reported on
also after a crash.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from app.dicomweb.chest_images import Instance

_SUFFIX = ".dcm"
_UNFINISHED = ".part"


class SpoolFullError(Exception):
    """There is no room for another object."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """An object as it lay there at one moment."""

    path: Path
    size: int
    changed: int  # nanoseconds since 1970


class Spool:
    """Used by several threads. Bounded in bytes and studies."""

    def __init__(self, folder: Path, max_bytes: int, max_studies: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_studies = max_studies
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for unfinished in folder.glob(f"*/*{_UNFINISHED}"):
            unfinished.unlink()
        for study in folder.iterdir():
            self._remove_if_empty(study)
        self._bytes = sum(file.size for study in folder.iterdir() for file in self._files(study))

    @property
    def held_bytes(self) -> int:
        """Bytes of all files."""
        return self._bytes

    def add(self, instance: Instance, file: bytes) -> None:
        """Keeps an object, in place of what came under its UID before. Raises `SpoolFullError` and `OSError`."""
        study = self._folder / _name(instance.study)
        path = study / (_name(instance.uid) + _SUFFIX)
        with self._lock:
            before = path.stat().st_size if path.exists() else 0
            if self._bytes + len(file) - before > self._max_bytes:
                raise SpoolFullError
            if not study.exists():
                if sum(1 for _ in self._folder.iterdir()) >= self._max_studies:
                    raise SpoolFullError
                study.mkdir(mode=0o700)
                _sync(self._folder)
            unfinished = path.with_suffix(_UNFINISHED)
            try:
                with unfinished.open("wb") as out:
                    out.write(file)
                    out.flush()
                    os.fsync(out.fileno())
                unfinished.replace(path)
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise
            _sync(study)
            self._bytes += len(file) - before

    def settled(self, seconds: float) -> list[list[ReceivedFile]]:
        """The files of each study to which nothing was added for so long, the one that waits longest first."""
        with self._lock:
            studies = [files for study in self._folder.iterdir() if (files := self._files(study))]
        now = time.time()
        moments = [(max(file.changed for file in files) / 1e9, files) for files in studies]
        # A clock that was set back must not make a study wait for ever.
        return [files for moment, files in sorted(moments, key=lambda one: one[0]) if abs(now - moment) >= seconds]

    def count(self) -> int:
        """Studies held."""
        return sum(1 for _ in self._folder.iterdir())

    def drop(self, files: Iterable[ReceivedFile]) -> None:
        """Lets go of files, but for those that came anew meanwhile."""
        with self._lock:
            for file in files:
                if _of(file.path) == file:
                    file.path.unlink()
                    self._bytes -= file.size
                self._remove_if_empty(file.path.parent)

    def _files(self, study: Path) -> list[ReceivedFile]:
        return [file for path in study.glob(f"*{_SUFFIX}") if (file := _of(path))]

    def _remove_if_empty(self, study: Path) -> None:
        if study.is_dir() and not any(study.iterdir()):
            study.rmdir()


def _of(path: Path) -> ReceivedFile | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return ReceivedFile(path, status.st_size, status.st_mtime_ns)


def _name(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:40]


def _sync(folder: Path) -> None:
    """A file's name is on disk once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
