"""Progress where nobody looks at a terminal."""

from __future__ import annotations

import re

import pytest

from model_training import progress


def test_lines_come_now_and_then_and_say_how_long_it_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one a step; each with the count, the speed, the time left and the note."""
    with progress.Progress("train", 1000, "step", done=500) as shown:
        for _ in range(100):
            shown.advance("tokens 1.0")
        assert capsys.readouterr() == ("", "")
        monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
        shown.advance("tokens 1.0")
        shown.say("epoch 1")
    said, line = (text.rstrip("\n") for text in capsys.readouterr())
    assert re.fullmatch(r"train: 601/1,000 steps, \S+ a second, 00:00 left: tokens 1\.0", line)
    assert said == "epoch 1"


def test_other_processes_are_silent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one process of several prints."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with progress.Progress("train", 10, "step", shown=False) as hidden:
        hidden.advance("tokens 1.0")
        hidden.say("epoch 1")
    assert capsys.readouterr().out == ""
