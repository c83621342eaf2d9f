"""What is built is found, and nothing else is loaded."""

from __future__ import annotations

import shutil

import pytest
import torch

from app.inference.native import library as built
from app.inference.native.one_thread import _openmp, in_one_thread


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


def test_what_one_thread_does_leaves_their_number_as_it_was() -> None:
    """Also where it fails; meanwhile there is one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert in_one_thread(lambda: torch.tensor(torch.get_num_threads())) == (1 if _openmp() else 2)
        with pytest.raises(RuntimeError):
            in_one_thread(lambda: torch.ones(2) @ torch.ones(3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_what_is_not_built_is_not_there() -> None:
    """Nor what nobody knows."""
    assert built.library.__wrapped__("none") is None
