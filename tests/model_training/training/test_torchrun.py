"""Runs that several processes share, as torchrun starts them: alike, lost, stopped and resumed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.server import free_port
from model_training.training.run_folder import FILE, HISTORY, STATE
from tests.model_training.training.launching import (
    STILL,
    Launcher,
    assert_same_run,
    descendants,
    finished,
    history,
    wait_until,
)

LOST_SECONDS = 60.0  # within which the processes that are left must have ended
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def shared(launcher: Launcher) -> Callable[[], Path]:
    """A run of two processes that was left alone: its folder."""
    folder = launcher.root / "shared"

    def wait() -> Path:
        if not folder.exists():
            finished(launcher.start("shared", *STILL, through=TORCHRUN))
        return folder

    return wait


def test_two_processes_compute_what_one_computes(launcher: Launcher, shared: Callable[[], Path]) -> None:
    """Each takes half of the same batches, batch norm sees the whole of them, and validation is shared.

    Without dropout, whose masks are each process's own, only rounding is left. Steps make it grow, gradients first: the
    validation losses stay within 1 %.
    """
    single = launcher.start("single", *STILL)
    theirs = history(shared())
    finished(single)
    ours = history(launcher.root / "single")
    for entry, other in zip(ours, theirs, strict=True):
        assert entry["val"] == pytest.approx(other["val"], rel=1e-2)
    assert ours[0]["train"] == pytest.approx(theirs[0]["train"], rel=1e-2)


def test_a_lost_machine_ends_the_run_resumable(launcher: Launcher, shared: Callable[[], Path]) -> None:
    """Two machines that share no folder, one of them killed: the other one says so and ends. The same commands again
    take exactly the steps that are left: no digit tells the run from one left alone."""
    first, second = launcher.machines("left", "lost")
    wait_until(lambda: (launcher.root / "left" / HISTORY).exists())
    for pid in [second.pid, *descendants(second.pid)]:
        os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    second.communicate()
    output = finished(first, 1)
    assert time.monotonic() - began < LOST_SECONDS
    assert "error: another process of this run was lost (" in output
    assert "is kept, and the same command goes on from there" in output
    assert not list((launcher.root / "lost").glob(STATE))
    outputs = [finished(process) for process in launcher.machines("left", "lost")]
    assert "resuming after step" in outputs[0]
    assert_same_run(launcher.root / "left", shared())
    assert not (launcher.root / "lost" / FILE).exists()


def test_torchrun_goes_on_by_itself_with_a_lost_process(
    launcher: Launcher, shared: Callable[[], Path], long: bool
) -> None:
    """With --max-restarts, one process killed on a machine of two; --fresh then is not taken to mean anew again."""
    if not long:
        pytest.skip("half a minute; --long runs it")
    process = launcher.start("again", *STILL, "--fresh", through=(*TORCHRUN, "--max-restarts", "1"))
    wait_until(lambda: (launcher.root / "again" / HISTORY).exists())
    os.kill(sorted(descendants(process.pid))[-1], signal.SIGKILL)
    assert "resuming after step" in finished(process)
    assert_same_run(launcher.root / "again", shared())


def test_torchrun_asked_to_stop_saves(launcher: Launcher, shared: Callable[[], Path], long: bool) -> None:
    """SIGTERM to torchrun ends all processes after the same step, with the state saved."""
    if not long:
        pytest.skip("half a minute; --long runs it")
    process = launcher.start("halted", *STILL, through=TORCHRUN)
    wait_until(lambda: (launcher.root / "halted" / HISTORY).exists())
    process.send_signal(signal.SIGTERM)
    assert "and saved; the same command goes on from there" in finished(process, 1)
    finished(launcher.start("halted", *STILL, through=TORCHRUN))
    assert_same_run(launcher.root / "halted", shared())


def test_machines_with_other_settings_do_not_train_together(launcher: Launcher, long: bool) -> None:
    """They say so in place of learning from studies twice, or by two rates."""
    if not long:
        pytest.skip("ten seconds; --long runs it")
    (launcher.root / "other.toml").write_text(launcher.config.read_text().replace("seed = 1", "seed = 2"))
    other = Launcher(launcher.phantoms, launcher.root / "other.toml", launcher.root)
    port = free_port()
    for process in [one.machine("unlike", rank, port) for rank, one in enumerate((launcher, other))]:
        assert "have other studies or another configuration each" in finished(process, 1)
