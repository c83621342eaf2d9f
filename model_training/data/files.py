"""Files as people have them: read with any byte order mark, and one error that names the file for whatever is wrong."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The mark of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_TOO_MUCH = {RecursionError: "nested too deeply", MemoryError: "more than the memory holds"}


class UnreadableFileError(ValueError):
    """A file that cannot be read as what it should be; the message names it and says why."""


@contextmanager
def reading(path: Path, what: str = "") -> Iterator[None]:
    """Whatever the content of `path` makes its reader raise becomes an `UnreadableFileError` on one line.

    `what` says what the file should be, in place of the words of a library. An OSError, which names its file, passes.
    """
    try:
        yield
    except (OSError, UnreadableFileError):
        raise
    except Exception as error:  # what is broken breaks readers in a dozen ways
        raise UnreadableFileError(f"{path}: {what or _reason(error)}") from error


def text_encoding(path: Path) -> str:
    """The encoding that the file's byte order mark names, UTF-8 without one."""
    with path.open("rb") as file:
        start = file.read(4)
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), "utf-8")


def read_text(path: Path) -> str:
    """The whole file. Raises OSError, and `UnreadableFileError` where it is not text."""
    with reading(path, "not text in UTF-8"):
        return path.read_text(encoding=text_encoding(path))


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises OSError and `UnreadableFileError`."""
    text = read_text(path)
    with reading(path):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, (RecursionError, MemoryError)):
        return _TOO_MUCH[type(error)]
    words = " ".join(str(error).split())
    return words if isinstance(error, ValueError) else f"not as expected ({type(error).__name__}: {words})"
