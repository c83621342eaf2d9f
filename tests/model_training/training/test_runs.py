"""Whole runs as processes: killed, asked to stop, resumed, and shared by two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.server import free_port
from model_training.__main__ import main
from model_training.config import Config
from model_training.train import INTERRUPTED, add_arguments, prepare
from model_training.training.differences import differences
from model_training.training.distributed import Processes
from model_training.training.run_folder import FILE, HISTORY, RECORD, STATE, load_run, save_run
from tests.model_training.conftest import Bench

STEPS_PER_EPOCH = 5
# What the number of processes does not change: dropout's masks are each process's own.
STILL = ("--set", "model.dropout=0.0", "--set", "training.epochs=4")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
LOST_SECONDS = 60.0  # within which the processes that are left must have ended


class Launcher:
    """Starts the training command on the phantoms."""

    def __init__(self, phantoms: Path, config: Path, root: Path) -> None:
        self.phantoms, self.config, self.root = phantoms, config, root

    def arguments(self, run: str, *more: str) -> list[str]:
        """The command's arguments for a run in a folder of its own."""
        data, config, out = map(str, (self.phantoms, self.config, self.root / run))
        return ["train", "--data", data, "--config", config, "--out", out, *more]

    def machines(self, *runs: str) -> list[subprocess.Popen[str]]:
        """Starts it on as many machines, each with one process and a folder of its own."""
        through = ["-m", "torch.distributed.run", "--nnodes", str(len(runs)), "--nproc-per-node", "1"]
        through += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", runs[0]]
        through += ["--local-addr", "127.0.0.1"]
        return [self.start(run, *STILL, through=through) for run in runs]

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
    assert "error: another process of this run was lost after step" in output
    assert "the same command goes on from there" in output
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


def test_machines_with_other_data_or_settings_do_not_train_together(launcher: Launcher, long: bool) -> None:
    """They say so in place of learning from studies twice, or by two rates."""
    if not long:
        pytest.skip("ten seconds; --long runs it")
    through = [*TORCHRUN[:2], "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--local-addr"]
    through += ["127.0.0.1", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    rates = [("--set", f"training.learning_rate={rate}") for rate in (1e-3, 2e-3)]
    for process in [launcher.start(f"rate {rate[1]}", *rate, through=through) for rate in rates]:
        assert "have other studies or another configuration each" in finished(process, 1)


def test_another_configuration_does_not_resume(
    launcher: Launcher, bench: Bench, small_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the key that differs."""
    bench.trainer(small_config, launcher.root / "begun").save()
    assert main(launcher.arguments("begun", "--set", "training.epochs=9")) == 2
    assert "training.epochs was 8, is 9" in capsys.readouterr().err
    assert not (launcher.root / "begun" / "cache").exists()


def test_an_error_about_long_values_is_short() -> None:
    """Of a list it shows what differs, and no more of it than a line holds."""
    names = [f"finding number {i}" for i in range(40)]
    old, new = ({"data": {"findings": tuple(given)}} for given in (names, [*names[:20], "another", *names[21:]]))
    (said,) = differences(old, new)
    assert len(said) < 200
    assert "finding number 20" in said.partition(", is ")[0]
    assert "another" in said.partition(", is ")[2]
    assert differences({"a": {"b": 1.0}}, {"a": {"b": 2.0}}) == ["a.b was 1.0, is 2.0"]


def test_the_cards_words_may_change(launcher: Launcher, bench: Bench, small_config: Config) -> None:
    """Training never reads them: the run goes on, and the newer words win, for the best epoch so far, too."""
    folder, words = launcher.root / "reworded", "Said better."
    trainer = bench.trainer(small_config, folder)
    trainer.save()
    save_run(folder, trainer.model, trainer.tokenizer, small_config)
    parser = ArgumentParser()
    add_arguments(parser)
    _, *arguments = launcher.arguments("reworded", "--set", f'card.intended_use="{words}"')
    resumed = prepare(parser.parse_args([*arguments, "--cache", str(bench.cache)]), Processes())
    assert resumed.config.card.intended_use == words
    assert load_run(folder)[2].card.intended_use == words


def test_other_studies_are_refused_before_any_is_decoded(
    launcher: Launcher, bench: Bench, small_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decoding may take hours."""
    trainer = bench.trainer(small_config, launcher.root / "others")
    trainer.fingerprint = "of other studies"
    trainer.save()
    assert main(launcher.arguments("others")) == 2
    assert "a run of other studies" in capsys.readouterr().err
    assert not (launcher.root / "others" / "cache").exists()


def test_a_finished_run_is_not_trained_over(
    launcher: Launcher, alone: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command refuses, and says what would do it."""
    before = (alone() / FILE).read_bytes()
    assert main(launcher.arguments("alone")) == 2
    assert "finished run" in capsys.readouterr().err
    assert (alone() / FILE).read_bytes() == before
