"""The file of results: whole lines, each study once, whoever is killed when."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.bulk.results import Csv, JsonLines, Results, format_for
from app.bulk.study import Outcome, Problem, StopError, Study

MODEL: dict[str, Any] = {"sections": ["findings", "impression"], "findings": ["effusion", "mass"]}
ANSWER: dict[str, Any] = {
    "report": {"sections": {"findings": 'An "effusion",\nleft.', "impression": "Effusion."}},
    "model": {"name": "tiny", "version": "0", "sha256": "00"},
    "findings": [
        {"name": "effusion", "probability": 0.81234567, "present": True},
        {"name": "mass", "probability": 0.01, "present": False},
    ],
    "abnormal": {"probability": 0.9, "present": True},
    "warnings": ["one", "two"],
}
KEYS = ("a.png", "é  b.png", "\udc80.png", 'quo"te, comma.png')


def outcome(key: str, *, fails: bool = False) -> Outcome:
    study = Study(key, (key,))
    return Outcome(study, problem=Problem("corrupt-image", "damaged")) if fails else Outcome(study, ANSWER)


def opened(path: Path) -> Results:
    return Results(path, format_for(path, MODEL))


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
@pytest.mark.parametrize("torn", [0, 1, 20])
def test_going_on(tmp_path: Path, name: str, torn: int) -> None:
    """What a run wrote the next one knows, whatever studies are called; a torn line is cut off, its study not known."""
    path = tmp_path / name
    results = opened(path)
    for key in KEYS:
        results.append(outcome(key, fails=key == KEYS[0]))
    results.close()
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[: -len(last)] + last[: len(last) - 1 - torn] if torn else whole)
    results = opened(path)
    assert [key in results for key in KEYS] == [True, True, True, not torn]
    assert results.without == 1
    if torn:
        results.append(outcome(KEYS[-1]))
    results.close()
    assert path.read_bytes() == whole
    assert path.stat().st_mode & 0o777 == 0o600


def test_torn_header(tmp_path: Path) -> None:
    """A run killed before its first line leaves a table that begins anew."""
    path = tmp_path / "r.csv"
    path.write_bytes(Csv(**MODEL).header[:7])
    opened(path).close()
    assert path.read_bytes() == Csv(**MODEL).header


def test_lines() -> None:
    """Either form is one line that its own reader reads."""
    for form in (JsonLines(), Csv(**MODEL)):
        for fails in (False, True):
            line = form.line(outcome(KEYS[1], fails=fails))
            assert line.count(b"\n") == 1
            assert form.read(line) == (KEYS[1], fails)
    said = json.loads(JsonLines().line(outcome("a.png")))
    assert said == {"study": "a.png", "files": ["a.png"], "answer": ANSWER}
    row = Csv(**MODEL).line(outcome("a.png")).decode()
    assert row == 'a.png,a.png,,,"An ""effusion"", left.",Effusion.,0.9,effusion,0.812346,0.01,one; two,tiny,0,00\n'


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("r.jsonl", b'{"study": "a", "answer": {}}\nhello\n', "line 2 is none of results"),
        ("r.jsonl", b'{"image": "a"}\n', "line 1 is none of results"),
        ("r.csv", b"image,report\n", "other columns"),
        ("r.csv", Csv(**MODEL).header + b"a,b\n", "line 2 is none of results"),
    ],
)
def test_another_file(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """What is no file of results is left as it is."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(StopError, match=said):
        opened(path)
    assert path.read_bytes() == content


def test_second_run(tmp_path: Path) -> None:
    """Two runs do not write to one file."""
    results = opened(tmp_path / "r.jsonl")
    with pytest.raises(StopError, match="another run writes to it"):
        opened(tmp_path / "r.jsonl")
    results.close()
    opened(tmp_path / "r.jsonl").close()


@pytest.mark.parametrize("taken", [0, 10])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    """The line that does not fit ends the run with a word for it, and no part of it stays."""
    results = opened(tmp_path / "r.jsonl")
    results.append(outcome("a.png"))
    whole = (tmp_path / "r.jsonl").read_bytes()
    write = os.write

    def full(file: int, data: bytes) -> int:
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[:taken])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StopError, match=r"(?i)no space left"):
            results.append(outcome("b.png"))
    assert "b.png" not in results
    results.close()
    assert (tmp_path / "r.jsonl").read_bytes() == whole
