"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.inference.files import write_atomically


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """Nothing else is left beside it."""
    path = tmp_path / "file"
    for data in (b"one", b"another"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_there_stays_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the old file and no piece of the new one."""

    def full(_: int) -> None:
        raise OSError("no space left on device")

    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
