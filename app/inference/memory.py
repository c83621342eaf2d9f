"""The allocator's settings: glibc's defaults suit neither a service that runs for months nor training on a CPU."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -2, -3, -4, -8  # malloc.h of glibc


def give_back_freed_memory() -> None:
    """For serving: two heaps for all threads, and large pieces mapped one by one; nothing elsewhere than with glibc.

    By default each thread has a heap of its own, and pieces up to 32 MiB come to lie in it: a server of eight threads
    held twice the memory after some minutes of load, and went on growing. To be called before there are threads.
    """
    _set({_ARENA_MAX: 2, _MMAP_THRESHOLD: 2**21})


def keep_freed_memory() -> None:
    """For training: what is freed is kept for what is allocated next; nothing elsewhere than with glibc.

    A step frees as many hundreds of megabytes as the next one takes. By default they go back to the kernel, and every
    page of them comes back by a fault: 335,000 a second, two thirds of all processor time, at 64 images of 320 pixels.
    """
    _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**29})


def _set(values: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in values.items():
            mallopt(parameter, value)
