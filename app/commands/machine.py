"""What the machine has, as Linux says: processor, cores, memory, GPU driver, and what a container leaves of it."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_NVIDIA = Path("/proc/driver/nvidia")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; `limit` is the container's, None without one, and `available` leaves what others use."""

    total: int
    available: int
    limit: int | None


def processor() -> str:
    """Its name."""
    found = re.search(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on, by affinity and by the container's quota, one at least."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        allowed = os.cpu_count() or 1
    quota = _quota()
    return max(1, min(allowed, int(quota))) if quota else allowed


def _quota() -> float | None:
    """Cores that the container may use on average, cgroup v2, then v1."""
    with suppress(ValueError):
        quota, period = _text(_CGROUP / "cpu.max").split()
        return int(quota) / int(period)
    with suppress(ValueError):
        microseconds = int(_text(_CGROUP / "cpu/cpu.cfs_quota_us"))
        return microseconds / int(_text(_CGROUP / "cpu/cpu.cfs_period_us")) if microseconds > 0 else None
    return None


def memory() -> Memory:
    """Zeros where it is not known."""
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _text(Path("/proc/meminfo")), re.MULTILINE))
    total, available = (int(sizes.get(name, 0)) * 1024 for name in ("MemTotal", "MemAvailable"))
    limit = _cgroup_bytes("memory.max", "memory/memory.limit_in_bytes")
    if limit is None or limit >= total:
        return Memory(total, available, None)
    used = _cgroup_bytes("memory.current", "memory/memory.usage_in_bytes") or 0
    return Memory(total, min(available, max(0, limit - used)), limit)


def _cgroup_bytes(*names: str) -> int | None:
    for name in names:
        with suppress(ValueError):
            return int(_text(_CGROUP / name))
    return None


def nvidia_driver() -> str | None:
    """The version of the NVIDIA driver, None without one."""
    found = re.search(r"Kernel Module\D*([0-9.]+)", _text(_NVIDIA / "version"))
    return found[1] if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
