"""Mixed load for long: whether memory and file descriptors stay where they are."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.faults.phases import Bench, Phase, some_are_bad, some_leave

SAMPLE_SECONDS = 2.0
SETTLE_SECONDS = 5.0
KILL_EVERY = 30  # samples


@dataclass(slots=True)
class Soak:
    """Samples of memory in mebibytes, in thirds of the time: the first warms, the others compare.

    Files are counted while nobody is connected, before and after.
    """

    phase: Phase
    memory: list[float] = field(default_factory=list)
    files_before: int = 0
    files_after: int = 0

    def third(self, number: int) -> float:
        """The median memory of the last third (2) or of that before (1)."""
        size = len(self.memory) // 3
        end = len(self.memory) - (2 - number) * size
        return statistics.median(self.memory[end - size : end])


async def soak(bench: Bench) -> Soak:
    """Good, bad and leaving clients, and a decode worker killed every minute."""
    samples = Soak(Phase("soak", bench.rate, bench.seconds, bench.server.memory()))

    async def mixed(bench: Bench, phase: Phase) -> bool:
        return await some_are_bad(bench, phase) or (random.random() < 1 / 3 and await some_leave(bench, phase))

    async def sample(bench: Bench, phase: Phase) -> None:
        until = time.monotonic() + bench.seconds
        while time.monotonic() < until:
            await asyncio.sleep(SAMPLE_SECONDS)
            samples.memory.append(bench.server.memory())
            if len(samples.memory) % KILL_EVERY == 0 and (workers := bench.server.workers):
                with suppress(ProcessLookupError):
                    os.kill(random.choice(workers), signal.SIGKILL)
                    phase.faults += 1

    await asyncio.sleep(SETTLE_SECONDS)
    samples.files_before = bench.server.open_files()
    samples.phase = await bench.run("soak", sample, mixed)
    await asyncio.sleep(SETTLE_SECONDS)
    samples.files_after = bench.server.open_files()
    return samples
