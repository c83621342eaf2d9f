"""Several processes of one run, without processes where that can be: who does what, and what only one may do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from model_training.__main__ import COMMANDS, SHARED, main
from model_training.config import Config
from model_training.train import _state
from model_training.training.distributed import Processes, T
from model_training.training.run_folder import RunError
from model_training.training.sampling import epoch_order
from tests.model_training.conftest import Bench
from tests.model_training.training.test_trainer import changed


@dataclass(frozen=True)
class Waiting(Processes):
    """A process that waits for the other threads of this one."""

    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))

    def wait(self) -> None:
        self.barrier.wait(10)


@pytest.mark.parametrize(("disks", "decoded"), [(("shared", "shared"), 1), (("one", "other"), 2)])
def test_each_disk_is_decoded_to_once(tmp_path: Path, disks: tuple[str, str], decoded: int) -> None:
    """Two machines with three processes each: one process in all where they share a folder, else one on each."""
    barrier, made = threading.Barrier(6), list[int]()

    def process(rank: int) -> None:
        processes = Waiting(rank, 6, local_rank=rank % 3, barrier=barrier)
        with processes.first_goes_first():
            cache = tmp_path / disks[rank // 3]
            if not cache.exists():
                made.append(rank)
                cache.touch()

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert made == [0, 3][:decoded]


class Elsewhere(Processes):
    """The first of two, on another machine than the one that began the run."""

    def first_does(self, work: Callable[[], T]) -> T:
        return work()

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor + 1


def test_a_run_whose_state_is_on_another_machine_is_not_begun_anew(tmp_path: Path, small_config: Config) -> None:
    """Machines that share no folder and have changed their order would lose what was learnt."""
    assert _state(tmp_path, small_config, Processes()) is None
    with pytest.raises(RunError, match="of another machine than the first"):
        _state(tmp_path, small_config, Elsewhere(0, 2))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_share_every_batch(bench: Bench, small_config: Config, tmp_path: Path, count: int) -> None:
    """Each study of an epoch goes to one process once, each step has the same studies whatever the number of
    processes, and no image is read for another's share."""
    config = changed(small_config, batch_size=6)
    trainers = [bench.trainer(config, tmp_path / str(rank)) for rank in range(count)]
    given: list[list[list[int]]] = []
    for rank, trainer in enumerate(trainers):
        trainer.processes = Processes(rank, count)
        taken = list[list[int]]()

        def note(indices: list[int], seed: object, taken: list[list[int]] = taken) -> None:
            taken.append(indices)

        trainer.train.batch = note  # type: ignore[assignment, method-assign]
        list(trainer._batches(0))
        given.append(taken)
    order = epoch_order(trainers[0].weights, np.random.default_rng((config.training.seed, 0)))
    steps = np.array_split(order, trainers[0].steps_per_epoch)
    for step, parts in zip(steps, zip(*given, strict=True), strict=True):
        assert sorted(step.tolist()) == sorted(index for part in parts for index in part)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert sorted(index for taken in given for part in taken for index in part) == list(range(len(trainers[0].train)))


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_validation(bench: Bench, small_config: Config, tmp_path: Path, count: int) -> None:
    """Each validation study goes to one process."""
    val = bench.trainer(small_config, tmp_path).val
    shares = [[i for indices, _ in val.batches(2, rank, count) for i in indices] for rank in range(count)]
    assert sorted(i for share in shares for i in share) == list(range(len(val)))


@pytest.mark.parametrize("name", ["wording", "calibrate", "evaluate", "export"])
def test_what_several_processes_cannot_share_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under torchrun each process would do all of it and write the same files: one line says so, before anything."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    run = str(tmp_path)
    given = {
        "wording": ["--run", run],
        "calibrate": ["--run", run, "--data", run],
        "evaluate": [run, "--data", run, "--out", run],
        "export": ["--run", run, "--out", run],
    }
    assert main([name, *given[name]]) == 2
    assert f"error: {name} runs in one process, not under torchrun" in capsys.readouterr().err
    assert set(SHARED) < set(COMMANDS)
