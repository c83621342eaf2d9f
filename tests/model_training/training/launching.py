"""The training command in processes of its own, and what two runs have in common."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from benchmarks.server import free_port
from model_training.training.run_folder import FILE, HISTORY, STATE

# What the number of processes does not change: dropout's masks are each process's own.
STILL = ("--set", "model.dropout=0.0", "--set", "training.epochs=4")


class Launcher:
    """Starts the training command on the phantoms."""

    def __init__(self, phantoms: Path, config: Path, root: Path) -> None:
        self.phantoms, self.config, self.root = phantoms, config, root

    def arguments(self, run: str, *more: str) -> list[str]:
        """The command's arguments for a run in a folder of its own."""
        data, config, out = map(str, (self.phantoms, self.config, self.root / run))
        return ["train", "--data", data, "--config", config, "--out", out, *more]

    def machines(self, *runs: str) -> list[subprocess.Popen[str]]:
        """Starts it on two machines, each with one process and a folder of its own."""
        port = free_port()
        return [self.machine(run, rank, port) for rank, run in enumerate(runs)]

    def machine(self, run: str, rank: int, port: int) -> subprocess.Popen[str]:
        """Starts it on one of two machines."""
        through = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(rank)]
        return self.start(run, *STILL, through=[*through, "--master-addr", "127.0.0.1", "--master-port", str(port)])

    def start(self, run: str, *more: str, through: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Starts it in a session of its own. One thread: sums in another order are other sums."""
        command = [sys.executable, *through, "-m", "model_training", *self.arguments(run, *more)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(  # noqa: S603 (our own command)
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, run: str) -> str:
        """Runs it to its end; returns what it printed."""
        return finished(self.start(run))

    def state(self, run: str) -> dict[str, Any]:
        """The state saved last."""
        state: dict[str, Any] = torch.load(self.root / run / STATE, weights_only=True)
        return state


def finished(process: subprocess.Popen[str], status: int = 0) -> str:
    """Waits for a process, and returns what it printed."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    found = list[int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                child = int(stat.parent.name)
                found += [child, *descendants(child)]
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def history(folder: Path) -> list[dict[str, Any]]:
    """The entries of a run but for the time they took."""
    entries = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]


def assert_same_run(folder: Path, other: Path) -> None:
    """Bitwise the same weights, and the same course in every digit."""
    ours, theirs = (torch.load(path / FILE, weights_only=True)["model"] for path in (folder, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert history(folder) == history(other)
