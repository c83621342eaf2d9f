"""The allocator's settings for training on a CPU."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, torch
from model_training.training.memory import keep_freed_memory
{settings}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the settings are glibc's")
def test_freed_memory_is_not_faulted_in_again() -> None:
    """Ten tensors of 64 MiB, one after the other, take the pages of the first; by default each takes new ones."""
    counts = []
    for settings in ("", "keep_freed_memory()"):
        command = [sys.executable, "-c", COUNT_FAULTS.format(settings=settings)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (our own code)
        counts.append(int(done.stdout))
    assert counts[1] < counts[0] / 10
