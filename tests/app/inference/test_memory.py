"""The allocator's settings for serving and for training on a CPU."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the settings are glibc's")

COUNT_FAULTS = """
import resource, torch
from app.inference.memory import keep_freed_memory
{settings}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""

MEASURE_WHAT_STAYS = """
import torch
from app.inference.memory import give_back_freed_memory
{settings}
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
torch.ones(2**21)  # glibc learns from the first large piece that is freed
before = resident()
large = [(torch.ones(2**20), torch.ones(64)) for _ in range(50)]  # 4 MiB each, and a small one that stays
small = [pair[1] for pair in large]
large.clear()
print(resident() - before)
"""


def test_freed_memory_is_not_faulted_in_again() -> None:
    """Ten tensors of 64 MiB, one after the other, take the pages of the first; by default each takes new ones."""
    assert measured(COUNT_FAULTS, "keep_freed_memory()") < measured(COUNT_FAULTS, "") / 10


def test_freed_memory_is_given_back() -> None:
    """Of 50 tensors of 4 MiB nothing stays for the small ones between them; by default all of it does."""
    assert measured(MEASURE_WHAT_STAYS, "give_back_freed_memory()") < measured(MEASURE_WHAT_STAYS, "") / 10


def measured(program: str, settings: str) -> int:
    command = [sys.executable, "-c", program.format(settings=settings)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603 (our own code)
