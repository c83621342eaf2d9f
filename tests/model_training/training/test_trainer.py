"""The training loop in this process: what learns, how fast, and when it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from app.images.decode import decode_image
from app.inference.checkpoint import load_checkpoint
from app.inference.generator import Generator
from app.inference.network.encoder import make_encode, study_encoder
from app.inference.options import OPERATING_POINTS
from app.inference.preprocessing import to_unit_range
from app.text.tokenizer import Tokenizer
from model_training.config import Config, ConfigError, config_from
from model_training.data import read_collection
from model_training.model.report_model import ReportModel
from model_training.training import trainer as trainer_module
from model_training.training.dataset import Batch
from model_training.training.run_folder import CURVES, STATE, load_run
from model_training.training.trainer import DivergedError, Trainer
from model_training.training.validation import generate_tokens
from tests.model_training.conftest import Bench

Weights = dict[str, torch.Tensor]


def changed(config: Config, section: str = "training", **values: Any) -> Config:
    content = config.as_dict()
    content[section] |= values
    return config_from(content)


def copied(trainer: Trainer) -> Weights:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def moved(before: Weights, trainer: Trainer, part: str) -> set[str]:
    """Tensors, buffers among them, of a part of the model that are not what they were."""
    now = trainer.model.state_dict()
    return {name for name in before if name.startswith(part) and not torch.equal(before[name], now[name])}


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_frozen_encoder_holds_still_until_its_time(
    bench: Bench, small_config: Config, tmp_path: Path, epochs: int
) -> None:
    """With one frozen epoch, neither weights nor batch norm statistics move in the first, and all do in the second."""
    trainer = bench.trainer(changed(small_config, frozen_epochs=1, epochs=epochs), tmp_path)
    before = copied(trainer)
    trainer.fit()
    assert moved(before, trainer, "decoder.")
    assert len(moved(before, trainer, "encoder.")) == (
        0 if epochs == 1 else sum(n.startswith("encoder.") for n in before)
    )


def test_each_part_learns_at_its_rate(bench: Bench, small_config: Config, tmp_path: Path) -> None:
    """The encoder takes a tenth of the others' rate at every step, and with factor 0 keeps its weights."""
    trainer = bench.trainer(changed(small_config, encoder_rate_factor=0.1, epochs=1), tmp_path / "tenth")
    trainer.fit()
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    rates: dict[bool, set[float]] = {True: set(), False: set()}
    for group in trainer.optimiser.param_groups:
        for parameter in group["params"]:
            rates[names.pop(id(parameter)).startswith("encoder.")].add(group["lr"])
    assert not names
    (encoder,), (rest,) = rates[True], rates[False]
    assert encoder == pytest.approx(0.1 * rest)
    trainer = bench.trainer(changed(small_config, encoder_rate_factor=0, epochs=1), tmp_path / "still")
    before = copied(trainer)
    trainer.fit()
    weights = {name for name, _ in trainer.model.named_parameters()}
    assert not moved(before, trainer, "encoder.") & weights
    assert moved(before, trainer, "decoder.") & weights


def test_training_stops_when_validation_gets_no_better(
    bench: Bench, small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With patience 2 it ends two epochs after the best one, whose weights are the ones kept."""
    losses = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    seen: list[Weights] = []

    def scripted(model: ReportModel, *_: object) -> dict[str, float]:
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"loss": next(losses)}

    monkeypatch.setattr(trainer_module, "validate", scripted)
    best = bench.trainer(changed(small_config, patience=2), tmp_path).fit()
    assert (len(seen), best["epoch"]) == (4, 2)
    kept = load_run(tmp_path)[0].state_dict()
    assert all(torch.equal(kept[name], seen[1][name]) for name in kept)
    assert (tmp_path / CURVES).read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / STATE).exists()


def test_pieces_make_the_same_step_as_the_whole(bench: Bench, small_config: Config, tmp_path: Path) -> None:
    """Accumulating gradients over pieces changes nothing but rounding where no batch norm looks at the piece."""
    config = changed(changed(small_config, "model", dropout=0.0), frozen_epochs=1, epochs=1)
    whole = bench.trainer(config, tmp_path / "whole")
    pieces = bench.trainer(changed(config, accumulation=3), tmp_path / "pieces")
    entries = whole.fit(), pieces.fit()
    assert entries[0]["train"] == pytest.approx(entries[1]["train"], rel=1e-4)
    for ours, theirs in zip(whole.model.parameters(), pieces.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=3e-4)  # Adam divides small gradients by themselves


def test_too_few_studies_for_the_pieces_is_an_error(bench: Bench, small_config: Config, tmp_path: Path) -> None:
    """Every process and piece needs a study in every step."""
    with pytest.raises(ConfigError, match=r"training\.batch_size"):
        bench.trainer(changed(small_config, accumulation=4), tmp_path)


def test_a_diverged_run_says_so_and_keeps_its_last_good_state(
    bench: Bench, small_config: Config, tmp_path: Path
) -> None:
    """A loss that is no number is never saved."""
    trainer = bench.trainer(changed(small_config, learning_rate=1e30), tmp_path)
    with pytest.raises(DivergedError, match=r"training\.learning_rate"):
        trainer.fit()
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 0


def test_a_run_can_be_selected_by_what_it_writes(bench: Bench, small_config: Config, tmp_path: Path) -> None:
    """With BLEU-4 as monitor, validation writes reports, and scores them with the rest."""
    pytest.importorskip("pycocoevalcap", reason='needs the extra "evaluation"')
    entry = bench.trainer(changed(small_config, monitor="BLEU-4", epochs=1), tmp_path).fit()
    assert 0 <= entry["val"]["BLEU-4"] <= 1
    assert entry["val"]["loss"] > 0


def test_validation_writes_what_the_service_writes(
    tiny_model: ReportModel, tiny_tokenizer: Tokenizer, tiny_checkpoint: Path, phantoms: Path
) -> None:
    """The network in training, searched in one batch and told what the checkpoint decides, gives the tokens that this
    gives one by one."""
    studies = read_collection(phantoms).studies[:5]
    pictures = [[decode_image(image.path.read_bytes()).pixels for image in study.images] for study in studies]
    generator = Generator.load(tiny_checkpoint, device="cpu")
    options = generator.model.default_options
    try:
        served = [generator.submit(views, options).result(60).hypotheses[0].token_texts for views in pictures]
    finally:
        generator.close()
    images = torch.stack([tiny_model.preprocess(to_unit_range(view)) for views in pictures for view in views])
    mask = torch.arange(2) < torch.tensor([[len(views)] for views in pictures])
    nothing = torch.zeros(0)
    checkpoint = load_checkpoint(tiny_checkpoint)
    encoder = study_encoder(checkpoint, make_encode(checkpoint.module, "exact", images.device), images.device)
    split = torch.split(images, [len(views) for views in pictures])
    with torch.inference_mode():
        encoded, _ = encoder(split, [OPERATING_POINTS[0]] * len(pictures))
    facts = torch.tensor([one.decisions.facts for one in encoded])
    batch = Batch(images, mask, nothing, nothing, nothing, nothing, facts, nothing)
    written = generate_tokens(tiny_model, batch, options)
    assert [tuple(tiny_tokenizer.tokens[i] for i in ids) for ids in written] == served
    assert len(set(written)) > 1
