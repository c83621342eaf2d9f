"""What the benchmark of start-up and size can be asked without a quiet machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import loading


def test_processors_are_given_back() -> None:
    """Within the context there are so many at most, for children too; afterwards as before."""
    before = os.sched_getaffinity(0)
    with loading.processors(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_shared_pages_count_in_parts() -> None:
    """A process has pages that others have, too; one that has ended has none."""
    resident, proportional = (loading.megabytes(os.getpid(), of) for of in ("Rss", "Pss"))
    assert 10 < proportional < resident
    assert loading.megabytes(2**22 + 1, "Rss") == 0.0


@pytest.mark.parametrize(
    ("docker", "value"),
    [("", None), ("exit 1", None), ('[ "$5" = xray-report:cpu ] && echo 1250000000', 1.25)],
)
def test_image_size(docker: str, value: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the engine's word; without an engine, or the image, the row says so and is neither met nor missed."""
    if docker:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{docker}\n")
        (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    row = loading.image_size()
    assert row.value == value
    assert row.met is (None if value is None else True)
    assert bool(row.note) is (value is None)
