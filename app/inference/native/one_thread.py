"""torch's small operations by the calling thread alone: waiting for another costs more than it brings, many times as
much where its core is busy with something else."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor


def in_one_thread(work: Callable[[], Tensor]) -> Tensor:
    """What `work` returns. By OpenMP itself, where torch brings it: `torch.set_num_threads` is everybody's number."""
    set_threads, threads = _openmp(), torch.get_num_threads()
    if set_threads is None or threads == 1:
        return work()
    set_threads(1)
    try:
        return work()
    finally:
        set_threads(threads)


@cache
def _openmp() -> Callable[[int], None] | None:
    """`omp_set_num_threads` of the library that torch has loaded, which counts for the calling thread."""
    folder = Path(torch.__file__).parent
    found = [*folder.glob("lib/libgomp*"), *folder.parent.glob("torch.libs/libgomp*")]
    if not found:
        return None
    set_threads = ctypes.CDLL(str(found[0])).omp_set_num_threads
    set_threads.argtypes, set_threads.restype = (ctypes.c_int,), None
    return set_threads
