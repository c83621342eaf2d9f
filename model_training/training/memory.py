"""The allocator's settings for training on a CPU."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # malloc.h of glibc


def keep_freed_memory() -> None:
    """Lets glibc keep what is freed for what is allocated next; nothing elsewhere.

    A step frees as many hundreds of megabytes as the next one takes. By default they go back to the kernel, and every
    page of them comes back by a fault: 335,000 a second, two thirds of all processor time, at 64 images of 320 pixels.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 2**29)
