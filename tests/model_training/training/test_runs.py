"""Whole runs as processes: killed, asked to stop, resumed, and shared by two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from model_training.__main__ import main
from model_training.config import Config
from model_training.train import INTERRUPTED
from model_training.training.run_folder import FILE, HISTORY, RECORD, STATE
from tests.model_training.conftest import Bench

STEPS_PER_EPOCH = 5
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


class Launcher:
    """Starts the training command on the phantoms."""

    def __init__(self, phantoms: Path, config: Path, root: Path) -> None:
        self.phantoms, self.config, self.root = phantoms, config, root

    def arguments(self, run: str, *more: str) -> list[str]:
        """The command's arguments for a run in a folder of its own."""
        data, config, out = map(str, (self.phantoms, self.config, self.root / run))
        return ["train", "--data", data, "--config", config, "--out", out, *more]

    def start(self, run: str, *more: str, through: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Starts it in a process of its own. One thread: sums in another order are other sums."""
        command = [sys.executable, *through, "-m", "model_training", *self.arguments(run, *more)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(  # noqa: S603 (our own command)
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
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


@pytest.fixture(scope="module")
def launcher(phantoms: Path, small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    root = tmp_path_factory.mktemp("runs")
    (root / "small.toml").write_text(small_config.to_toml())
    return Launcher(phantoms, root / "small.toml", root)


@pytest.fixture(scope="module")
def undisturbed(launcher: Launcher) -> Iterator[subprocess.Popen[str]]:
    """A run that is left alone, at work beside the first test."""
    process = launcher.start("alone")
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def alone(launcher: Launcher, undisturbed: subprocess.Popen[str]) -> Callable[[], Path]:
    """Waits for the run that was left alone, and names its folder."""

    def wait() -> Path:
        if undisturbed.returncode is None:
            finished(undisturbed)
        return launcher.root / "alone"

    return wait


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


def test_a_killed_run_resumes_to_the_same_weights(launcher: Launcher, alone: Callable[[], Path]) -> None:
    """SIGKILL between two steps of an epoch, the same command again: nothing tells it from a run left alone."""
    process = launcher.start("killed")

    def stopped_in_mid_epoch() -> bool:
        if not (launcher.root / "killed" / STATE).exists():
            assert process.poll() is None, process.communicate()[0]
            return False
        # The process is held still while we look, and goes on unless this is a good moment to die.
        process.send_signal(signal.SIGSTOP)
        if launcher.state("killed")["step"] % STEPS_PER_EPOCH:
            return True
        process.send_signal(signal.SIGCONT)
        return False

    wait_until(stopped_in_mid_epoch)
    process.kill()
    finished(process, -signal.SIGKILL)
    step = launcher.state("killed")["step"]
    assert f"resuming after step {step} of 40" in launcher.finish("killed")
    assert_same_run(launcher.root / "killed", alone())


def test_sigterm_saves_and_says_how_to_go_on(launcher: Launcher, alone: Callable[[], Path]) -> None:
    """A run asked to stop exits with its own status, and the same command ends as if it had not been asked."""
    process = launcher.start("asked")
    wait_until(lambda: (launcher.root / "asked" / HISTORY).exists())
    process.send_signal(signal.SIGTERM)
    assert "the same command goes on from there" in finished(process, INTERRUPTED)
    launcher.finish("asked")
    assert_same_run(launcher.root / "asked", alone())
    starts = json.loads((launcher.root / "asked" / RECORD).read_text())["starts"]
    assert [start["step"] > 0 for start in starts] == [False, True]
    assert "-m model_training train" in starts[0]["command"]


def test_two_processes_compute_what_one_computes(launcher: Launcher) -> None:
    """Each takes half of the same batches, batch norm sees the whole of them, and validation is shared.

    Without dropout, whose masks are each process's own, only rounding is left. Steps make it grow, gradients first: the
    validation losses stay within 1 %.
    """
    still = ("--set", "model.dropout=0.0", "--set", "training.epochs=4")
    runs = launcher.start("single", *still), launcher.start("shared", *still, through=TORCHRUN)
    for process in runs:
        finished(process)
    single, shared = (history(launcher.root / run) for run in ("single", "shared"))
    for ours, theirs in zip(single, shared, strict=True):
        assert ours["val"] == pytest.approx(theirs["val"], rel=1e-2)
    assert single[0]["train"] == pytest.approx(shared[0]["train"], rel=1e-2)


def test_another_configuration_does_not_resume(
    launcher: Launcher, bench: Bench, small_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the key that differs."""
    bench.trainer(small_config, launcher.root / "begun").save()
    assert main(launcher.arguments("begun", "--set", "training.epochs=9")) == 2
    assert "training.epochs was 8, is 9" in capsys.readouterr().err


def test_a_finished_run_is_not_trained_over(
    launcher: Launcher, alone: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command refuses, and says what would do it."""
    before = (alone() / FILE).read_bytes()
    assert main(launcher.arguments("alone")) == 2
    assert "finished run" in capsys.readouterr().err
    assert (alone() / FILE).read_bytes() == before
