"""The file of results, a line a study, to which several runs append.

A line is handed to the kernel whole, in one write at the end of the file, so that whoever is killed leaves whole lines
and at most the beginning of another one, which the next run cuts off. What the kernel was given outlives the process,
not a power cut: once a second it is made durable (fsync). Asking for that line by line would wait for the disk up to a
hundred times a second, and all it would save is that the studies of one second are reported on again.

A lock keeps a second run away. The file holds reports, and can be read by its owner alone.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from app.bulk.study import Outcome, StopError

SUFFIXES = (".jsonl", ".csv")
_CHUNK = 2**20


class Format(Protocol):
    """How an outcome is one line."""

    header: bytes

    def line(self, outcome: Outcome) -> bytes:
        """With its line feed, and no other."""

    def read(self, line: bytes) -> tuple[str, bool]:
        """The key of a line's study, and whether it has no report. Raises ValueError for what is no such line."""


class JsonLines:
    """`{"study": …, "files": […], "answer": …}`, or with `problem` in its place."""

    header = b""

    def line(self, outcome: Outcome) -> bytes:
        """ASCII: JSON escapes line feeds, and what is no character (file names may hold such)."""
        study = outcome.study
        said: dict[str, Any] = {"study": study.key, "files": study.files}
        if outcome.problem:
            said["problem"] = {"type": outcome.problem.type, "detail": outcome.problem.detail}
        else:
            said["answer"] = outcome.answer
        return json.dumps(said, separators=(",", ":")).encode() + b"\n"

    def read(self, line: bytes) -> tuple[str, bool]:
        """By the members `study` and `problem`."""
        said = json.loads(line)
        if not (isinstance(said, dict) and isinstance(said.get("study"), str) and {"answer", "problem"} & said.keys()):
            raise ValueError("no line of results")
        return said["study"], "problem" in said


class Csv:
    """A row a study: what a table has room for. Line feeds in texts become spaces."""

    def __init__(self, sections: Sequence[str], findings: Sequence[str]) -> None:
        """The names that the model's answers have."""
        self._sections, self._findings = tuple(sections), tuple(findings)
        self._columns = (
            *("study", "files", "problem", "detail"),
            *self._sections,
            *("abnormal", "present"),
            *(f"p_{name}" for name in self._findings),
            *("warnings", "model", "version", "sha256"),
        )
        self.header = _row(self._columns)

    def line(self, outcome: Outcome) -> bytes:
        """Probabilities in columns `p_<finding>`, the names of what is present in one."""
        study, problem, answer = outcome.study, outcome.problem, outcome.answer
        cells: dict[str, object] = {"study": study.key, "files": "; ".join(study.files)}
        if problem:
            cells |= {"problem": problem.type, "detail": problem.detail}
        elif answer:
            cells |= answer["report"]["sections"] | answer["model"]
            cells |= {f"p_{one['name']}": f"{one['probability']:.6g}" for one in answer["findings"]}
            cells["present"] = "; ".join(one["name"] for one in answer["findings"] if one["present"])
            cells["abnormal"] = f"{answer['abnormal']['probability']:.6g}" if "abnormal" in answer else ""
            cells["warnings"] = "; ".join(answer["warnings"])
            cells["model"] = answer["model"]["name"]
        return _row([cells.get(name, "") for name in self._columns])

    def read(self, line: bytes) -> tuple[str, bool]:
        """By the columns `study` and `problem`."""
        try:
            (row,) = csv.reader([line.decode(errors="surrogateescape")], strict=True)
        except csv.Error as error:
            raise ValueError("no row") from error
        if len(row) != len(self._columns):
            raise ValueError("no row of results")
        return row[0], bool(row[self._columns.index("problem")])


def _row(cells: Sequence[object]) -> bytes:
    """The first cell, a key, is on one line already."""
    key, *others = cells
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([key, *(" ".join(str(cell).split()) for cell in others)])
    return text.getvalue().encode(errors="surrogateescape")


def format_for(path: Path, model: Mapping[str, Any]) -> Format:
    """By the file's suffix, one of `SUFFIXES`; `model` is what `/v1/model` says."""
    return Csv(model["sections"], model["findings"]) if path.suffix.lower() == ".csv" else JsonLines()


class Results:
    """The open file. Used by one thread, but for `sync`."""

    def __init__(self, path: Path, format: Format) -> None:  # noqa: A002  # its name here
        """Opens or makes it, cuts off a torn line, and reads which studies it has. Raises `StopError`."""
        self._path, self._format = path, format
        self._done: set[bytes] = set()
        self.without = 0  # studies that have no report
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise StopError(f"{path}: {error.strerror}") from error
        try:
            self._lock()
            self._end = self._read()
            os.ftruncate(self._file, self._end)
            if not self._end and format.header:
                self._write(format.header)
        except BaseException:
            os.close(self._file)
            raise

    def __len__(self) -> int:
        """Studies it has."""
        return len(self._done)

    def __contains__(self, key: str) -> bool:
        return _digest(key) in self._done

    def append(self, outcome: Outcome) -> None:
        """One more line. Raises `StopError` when the disk does not take it; then no part of it stays."""
        self._write(self._format.line(outcome))
        self._done.add(_digest(outcome.study.key))
        self.without += outcome.problem is not None

    def sync(self) -> None:
        """What was appended is on the disk then."""
        os.fsync(self._file)

    def close(self) -> None:
        """Syncs and closes."""
        try:
            self.sync()
        finally:
            os.close(self._file)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StopError(f"{self._path}: another run writes to it") from error

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._file, line)
            if written != len(line):  # the disk is nearly full: the next write says so
                os.ftruncate(self._file, self._end)
                raise StopError(f"{self._path}: no space left")
        except OSError as error:
            raise StopError(f"{self._path}: {error.strerror}") from error
        self._end += written

    def _read(self) -> int:
        """Where its whole lines end."""
        end = number = 0
        with open(self._file, "rb", buffering=_CHUNK, closefd=False) as file:  # it is open already
            for line in file:
                if not line.endswith(b"\n"):
                    break
                number += 1
                if number == 1 and self._format.header:
                    if line != self._format.header:
                        raise StopError(f"{self._path}: it has other columns; name another file")
                else:
                    self._note(line, number)
                end += len(line)
        return end

    def _note(self, line: bytes, number: int) -> None:
        try:
            key, without = self._format.read(line)
        except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are such
            raise StopError(f"{self._path}: line {number} is none of results; name another file") from error
        self._done.add(_digest(key))
        self.without += without


def _digest(key: str) -> bytes:
    """Of one length however long names are."""
    return hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=16).digest()
