"""Learning from finished runs: their probabilities as targets, their encoder and finding head as a start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_training.config import Config
from model_training.model.build import build_model
from model_training.training import run_folder
from model_training.training.teachers import distillation_targets, finding_logits
from model_training.training.trainer import Trainer
from tests.model_training.conftest import Bench

CPU = torch.device("cpu")


@pytest.fixture
def teacher(bench: Bench, small_config: Config, tmp_path: Path) -> Trainer:
    """A finished run in the folder `teacher`."""
    trainer = bench.trainer(small_config, tmp_path / "teacher")
    run_folder.save_run(tmp_path / "teacher", trainer.model.eval(), trainer.tokenizer, small_config)
    return trainer


def test_targets_lie_between_labels_and_what_the_teachers_say(
    teacher: Trainer, bench: Bench, small_config: Config, tmp_path: Path
) -> None:
    """By the weight given; where nothing is labelled they are what the teachers say."""
    folder = str(tmp_path / "teacher")
    training = replace(small_config.training, teachers=(folder, folder), teacher_weight=0.25)
    examples = bench.trainer(small_config, tmp_path / "student").train
    examples.labels[0, 0] = float("nan")
    said = finding_logits(teacher.model, examples, CPU).sigmoid()
    targets = distillation_targets(examples, replace(small_config, training=training), bench.cache)
    assert targets[0, 0] == pytest.approx(float(said[0, 0]))
    torch.testing.assert_close(targets[1:], 0.75 * examples.labels[1:] + 0.25 * said[1:])


def test_teachers_speak_of_the_sources_they_learnt_from(
    teacher: Trainer, bench: Bench, small_config: Config, tmp_path: Path
) -> None:
    """Of studies of other sources the labels stand, unlabelled ones unlabelled."""
    folder = tmp_path / "teacher"
    known = replace(small_config, data=replace(small_config.data, sources=("known",)))
    run_folder.save_run(folder, teacher.model, teacher.tokenizer, known)
    config = replace(small_config, training=replace(small_config.training, teachers=(str(folder),), teacher_weight=1.0))
    examples = bench.trainer(small_config, tmp_path / "student").train
    examples.labels[0, 0] = float("nan")
    examples.studies[1] = replace(examples.studies[1], source="known")
    targets = distillation_targets(examples, config, bench.cache)
    said = finding_logits(teacher.model, examples, CPU).sigmoid()
    torch.testing.assert_close(targets[1], said[1])
    torch.testing.assert_close(targets[0], examples.labels[0], equal_nan=True)
    torch.testing.assert_close(targets[2:], examples.labels[2:])


def test_teachers_of_other_findings_are_an_error(teacher: Trainer, small_config: Config, tmp_path: Path) -> None:
    """The message names the run."""
    training = replace(small_config.training, teachers=(str(tmp_path / "teacher"),))
    other = replace(small_config, training=training, data=replace(small_config.data, findings=("pneumothorax",)))
    with pytest.raises(ValueError, match="teacher was trained on other findings"):
        distillation_targets(teacher.train, other, tmp_path)


def test_a_run_starts_from_another_ones_encoder_and_finding_head(
    teacher: Trainer, small_config: Config, tmp_path: Path
) -> None:
    """And with a decoder of its own."""
    model = build_model(small_config, 20)
    run_folder.start_from(tmp_path / "teacher", model)
    state, given = model.state_dict(), teacher.model.state_dict()
    taken = [name for name, value in state.items() if name in given and torch.equal(value, given[name])]
    assert {name for name in state if name.startswith(("encoder.", "finding_head.", "finding_bias"))} <= set(taken)
    assert "memory_projection.weight" not in taken


def test_a_start_from_another_encoder_is_an_error(teacher: Trainer, small_config: Config, tmp_path: Path) -> None:
    """So is one with other findings."""
    encoder = replace(small_config, model=replace(small_config.model, encoder="resnet-small"))
    findings = replace(small_config, data=replace(small_config.data, findings=("pneumothorax",)))
    for other in (encoder, findings):
        with pytest.raises(ValueError, match=r"training\.start_from"):
            run_folder.start_from(tmp_path / "teacher", build_model(other, 20))


def test_frozen_layers_never_move(bench: Bench, small_config: Config, tmp_path: Path) -> None:
    """Neither their weights nor what their batch norms remember, while the layers behind them learn."""
    training = replace(small_config.training, frozen_layers=5, epochs=1)
    trainer = bench.trainer(replace(small_config, training=training), tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.model.encoder.state_dict().items()}
    trainer.fit()
    moved = {
        name.split(".")[1]
        for name, value in trainer.model.encoder.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == {"5", "6", "7"}


def test_more_frozen_layers_than_there_are_is_an_error(bench: Bench, small_config: Config, tmp_path: Path) -> None:
    """The message says how many there are."""
    training = replace(small_config.training, frozen_layers=50)
    with pytest.raises(ValueError, match="has 8 layers in a row, not 50"):
        bench.trainer(replace(small_config, training=training), tmp_path / "run").fit()
