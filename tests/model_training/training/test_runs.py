"""Whole runs as processes: killed, asked to stop, resumed, and refused."""

from __future__ import annotations

import json
import signal
import subprocess
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_training.__main__ import main
from model_training.config import Config
from model_training.train import INTERRUPTED, add_arguments, prepare
from model_training.training.differences import differences
from model_training.training.distributed import Processes
from model_training.training.run_folder import FILE, HISTORY, RECORD, STATE, load_run, save_run
from tests.model_training.conftest import Bench
from tests.model_training.training.launching import Launcher, assert_same_run, finished, wait_until

STEPS_PER_EPOCH = 5


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
