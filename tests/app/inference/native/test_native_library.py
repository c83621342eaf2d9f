"""What is built is found, and nothing else is loaded."""

from __future__ import annotations

import shutil

import pytest
import torch

from app.inference.native import library as built


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
@pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="no x86 with AVX2")
def test_a_compiler_is_enough() -> None:
    """Where there is one the package comes with compiled steps: what else this folder tests is not skipped unseen."""
    assert built.runnable(), "nothing is built: `make setup` does it, or pip install -e ."


def test_what_was_built_of_other_sources_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A step that would read other tables than it is given ends nowhere good: torch steps, and a warning says why."""
    monkeypatch.setattr(built, "VERSION", -1)
    for name in built.runnable():
        assert built.library.__wrapped__(name) is None
        assert "other sources" in caplog.messages[-1]


def test_what_is_not_built_is_not_there() -> None:
    """Nor what nobody knows."""
    assert built.library.__wrapped__("none") is None
