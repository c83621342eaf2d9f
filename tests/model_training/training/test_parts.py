"""The parts of the training loop, each by itself."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from app.text.tokenizer import BOS, PAD, UNK
from model_training.config import AugmentationConfig, TrainingConfig
from model_training.model.report_model import ReportModel
from model_training.training.augmentation import AMOUNTS, augment, changes_of
from model_training.training.dataset import Batch
from model_training.training.history import best_epoch, exhausted
from model_training.training.losses import PARTS, attribute_loss, box_loss, loss_counts, loss_sums, objective
from model_training.training.optimiser import moving_average, rate_factor
from model_training.training.sampling import epoch_order, study_weights
from tests.encoded import facts_at_random


def batch_of(model: ReportModel, studies: list[int]) -> Batch:
    """Some of three studies with one or two views, labels and views partly unknown, words partly unknown."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 2, 1, model.image_size, model.image_size, generator=generator)[studies]
    mask = torch.tensor([[True, True], [True, False], [True, False]])[studies]
    views = torch.tensor([[0, 1], [1, -100], [-100, -100]])[studies]
    labels = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, math.nan, 1.0, math.nan], [math.nan] * 4])[studies]
    tokens = torch.tensor([[BOS, 6, 7, 8, 2], [BOS, 9, UNK, 2, PAD], [BOS, PAD, PAD, PAD, PAD]])[studies]
    facts = facts_at_random(3, 4)[studies]
    attributes = torch.tensor([[0.5, 1.0, 0.0], [math.nan, 0.0, math.nan], [math.nan] * 3])[studies]
    boxes = torch.tensor([[0.0, 1.0, -0.5, -0.5, 0.4, 0.9]]) if 0 in studies else torch.zeros(0, 6)
    return Batch(images[mask], mask, views[mask], labels, attributes, tokens, facts, boxes)


def test_losses_of_parts_add_up_to_those_of_the_whole(tiny_model: ReportModel) -> None:
    """So do their terms; unknown words, labels and views are none."""
    whole = batch_of(tiny_model, [0, 1, 2])
    parts = [batch_of(tiny_model, studies) for studies in ([0], [1, 2])]
    assert loss_counts(whole).tolist() == [6, 6, 3, 1, 4]
    assert torch.equal(torch.stack([loss_counts(part) for part in parts]).sum(0), loss_counts(whole))
    with torch.inference_mode():
        sums = loss_sums(tiny_model, whole)
        torch.testing.assert_close(sum(loss_sums(tiny_model, part) for part in parts), sums, rtol=1e-5, atol=1e-5)
    training = TrainingConfig(finding_weight=2.0, view_weight=0.5, box_weight=3.0)
    expected = sums[0] / 6 + 2 * sums[1] / 6 + 0.5 * sums[2] / 3 + 3 * sums[3]
    torch.testing.assert_close(objective(sums, loss_counts(whole), training), expected)


def test_attributes_teach_what_is_known_of_them(tiny_model: ReportModel) -> None:
    """Age by squares, the others by cross-entropy; a model that is not to tell them is taught none."""
    told = torch.tensor([[0.0, 0.0, 2.0], [1.0, -1.0, 0.0]], requires_grad=True)
    truth = torch.tensor([[0.5, 1.0, math.nan], [math.nan, 0.0, math.nan]])
    loss = attribute_loss(told, truth)
    assert loss.item() == pytest.approx(0.25 + math.log(2) + math.log1p(math.exp(-1)))
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    assert told.grad is not None
    assert (told.grad != 0).tolist() == [[True, True, False], [False, True, False]]
    batch = batch_of(tiny_model, [0, 1])
    assert loss_sums(tiny_model, batch)[PARTS.index("attributes")].item() == 0.0


@torch.inference_mode()
def test_mixup_blends_images_with_their_labels(tiny_model: ReportModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same shares, the greater one that of the image whose boxes count; never where a study has two views."""
    whole = batch_of(tiny_model, [1, 2])
    labels = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, math.nan, 1.0, 0.0]])
    batch = replace(whole, view_mask=whole.view_mask[:, :1], labels=labels)
    seen: list[torch.Tensor] = []

    def spy(images: torch.Tensor, *rest: torch.Tensor) -> object:
        seen.append(images)
        return ReportModel.forward(tiny_model, images, *rest)

    monkeypatch.setattr(tiny_model, "forward", spy)
    torch.manual_seed(3)
    mixed = loss_sums(tiny_model, batch, mixup=0.3)
    difference = batch.images - batch.images.flip(0)
    shares = (seen[0] - batch.images.flip(0)) / difference
    share = float(shares.mean())
    assert 0.5 <= share <= 1.0
    torch.testing.assert_close(seen[0], share * batch.images + (1 - share) * batch.images.flip(0))
    logits = tiny_model(seen[0], batch.view_mask, batch.tokens[:, :-1], batch.facts)[1]
    for labels, weight in ((batch.labels, share), (batch.labels.flip(0), 1 - share)):
        known = ~labels.isnan()
        entropy = torch.nn.functional.binary_cross_entropy_with_logits
        mixed[1] -= weight * entropy(logits[known], labels[known], reduction="sum")
    assert float(mixed[1]) == pytest.approx(0.0, abs=1e-4)
    several = batch_of(tiny_model, [0, 1])
    seen.clear()
    loss_sums(tiny_model, several, mixup=0.3)
    assert torch.equal(seen[0], several.images)


@torch.inference_mode()
def test_a_batch_that_teaches_nothing_has_a_loss_of_zero(tiny_model: ReportModel) -> None:
    """No word, label or view known: a number all the same."""
    batch = batch_of(tiny_model, [2])
    assert float(objective(loss_sums(tiny_model, batch), loss_counts(batch), TrainingConfig())) == 0.0


def norm(model: ReportModel) -> Any:
    """The first batch norm, which has buffers."""
    return next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))


def test_films_lose_detail_and_nothing_else() -> None:
    """A fine pattern goes, what changes slowly stays; each film by its own draw, none by a draw of -1."""
    size = 64
    fine = (torch.arange(size)[:, None] + torch.arange(size)) % 2 * 2.0 - 1.0
    slow = torch.linspace(-1, 1, size).expand(size, size)
    images = torch.stack([fine, slow, fine])[:, None]
    draws = np.zeros((3, AMOUNTS))
    draws[:, 6] = (1.0, 1.0, -1.0)
    draws[:, 7] = -1.0
    out = augment(images, changes_of(draws, AugmentationConfig(sharpness=0.6)))
    assert float(out[0].std()) < 0.3
    torch.testing.assert_close(out[1][..., 8:-8, 8:-8], images[1][..., 8:-8, 8:-8], atol=0.05, rtol=0)
    torch.testing.assert_close(out[2], images[2], atol=1e-4, rtol=0)


def test_the_average_follows_the_model(tiny_model: ReportModel) -> None:
    """It starts as the model, takes nine tenths of the first step, and then little of each; batch norms with it."""
    average = moving_average(tiny_model, decay=0.9)
    averaged, moved = cast(ReportModel, average.module), copy.deepcopy(tiny_model)
    with torch.no_grad():
        moved.finding_bias.fill_(1.0)
        norm(moved).running_mean.fill_(2.0)
        norm(moved).num_batches_tracked.fill_(7)
    average.update_parameters(moved)
    torch.testing.assert_close(averaged.finding_bias, tiny_model.finding_bias.lerp(moved.finding_bias, 0.9))
    expected = norm(tiny_model).running_mean.lerp(norm(moved).running_mean, 0.9)
    torch.testing.assert_close(norm(averaged).running_mean, expected)
    assert norm(averaged).num_batches_tracked == 7
    average.n_averaged.fill_(1000)
    before = averaged.finding_bias.clone()
    average.update_parameters(moved)
    torch.testing.assert_close(averaged.finding_bias, before.lerp(moved.finding_bias, 0.1))


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    """Linear to the first tenth, then half a cosine."""
    rates = [rate_factor(step, 100, warm_up=0.1) for step in range(101)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_patience_counts_from_the_best_epoch() -> None:
    """The first of equal epochs is the best; of BLEU more is better, of a loss less."""
    entries = [{"val": {"loss": loss, "BLEU-4": bleu}} for loss, bleu in [(3, 0.1), (2, 0.3), (2, 0.2), (4, 0.3)]]
    assert [best_epoch(entries, name) for name in ("loss", "BLEU-4")] == [1, 1]
    assert [exhausted(entries, "loss", patience) for patience in (0, 1, 2, 3)] == [False, True, True, False]
    assert not exhausted([], "loss", 1)


def test_augmentation_without_draws_changes_nothing() -> None:
    """All amounts at zero are the image itself."""
    images = torch.randn(2, 1, 32, 32)
    limits = AugmentationConfig(rotation=10, shift=0.1, scale=0.2, brightness=1, contrast=0.5)
    torch.testing.assert_close(
        augment(images, changes_of(np.zeros((2, AMOUNTS)), limits)), images, atol=1e-4, rtol=1e-4
    )


def test_augmentation_never_mirrors_and_pads_with_the_darkest() -> None:
    """Whatever is drawn, what was bright on the left and above stays there, and no value is new."""
    limits = AugmentationConfig(rotation=10, shift=0.1, scale=0.2)
    image = torch.full((1, 1, 64, 64), -1.5)
    image[..., 16:28, 12:24] = 2.0
    draws = np.random.default_rng(0).uniform(-1, 1, (50, AMOUNTS))
    out = augment(image.expand(50, -1, -1, -1), changes_of(draws, limits))
    assert not torch.equal(out[0], out[1])
    assert float(out.min()) == pytest.approx(-1.5)
    assert float(out.max()) <= 2.0 + 1e-5
    bright = (out + 1.5)[:, 0]
    places = torch.arange(64.0)
    across = (bright.sum(1) * places).sum(1) / bright.sum((1, 2))
    down = (bright.sum(2) * places).sum(1) / bright.sum((1, 2))
    assert float(across.max()) < 31.5
    assert float(down.max()) < 36


def test_equal_weights_draw_every_study_once_an_epoch() -> None:
    """Sources and findings as common as each other, or no balance asked for."""
    labels = np.zeros((6, 2))
    weights = study_weights(["a"] * 4 + ["b"] * 2, labels, source_balance=0.0, class_balance=0.0)
    assert sorted(epoch_order(weights, np.random.default_rng(1)).tolist()) == list(range(6))


def test_balanced_sources_have_equal_shares_and_repeated_draws_differ() -> None:
    """Two studies against six: each of the two is drawn twice, under two numbers."""
    weights = study_weights(["a"] * 6 + ["b"] * 2, np.zeros((8, 1)), source_balance=1.0, class_balance=0.0)
    order = epoch_order(weights, np.random.default_rng(1))
    assert sum(draw % 8 >= 6 for draw in order) == 4
    assert len(order) == len(set(order.tolist())) == 8
    assert {draw for draw in order.tolist() if draw % 8 >= 6} == {6, 7, 14, 15}


def test_studies_with_a_rare_finding_are_repeated() -> None:
    """By the power of its rarity, the rarest of their findings counting; what is not labelled counts nothing."""
    labels = np.array([[1, 0]] * 8 + [[1, 1]] * 2 + [[np.nan, np.nan]])
    weights = study_weights([None] * 11, labels, source_balance=0.0, class_balance=0.5)
    assert weights == pytest.approx([1.0] * 8 + [5**0.5] * 2 + [1.0])


def test_evidence_inside_the_box_costs_nothing_and_outside_much(tiny_model: ReportModel) -> None:
    """Where the image is moved, the box moves along; one that is moved out of the picture says nothing."""
    side = tiny_model.image_size // int(tiny_model.stride)
    evidence = torch.zeros(1, side * side, 3)
    evidence[0, -1, 1] = 20.0  # the last position, at the bottom right
    corner = torch.tensor([[0.0, 1.0, -0.2, -0.2, 0.2, 0.2]])  # around the last position's middle
    limits = AugmentationConfig(shift=0.5)
    batch = batch_of(tiny_model, [1])

    def cost(boxes: torch.Tensor, across: float = 0.0) -> float:
        changes = changes_of(np.array([[0.0, across, across, *[0.0] * (AMOUNTS - 3)]]), limits)
        return float(box_loss(tiny_model, evidence, replace(batch, boxes=boxes, changes=changes)))

    assert cost(corner) == pytest.approx(0.0, abs=1e-3)
    assert cost(corner, 1.0) > 5  # the image moved up and to the left, the box with it, the evidence not
    assert cost(corner, 4.0) == 0.0
    assert float(box_loss(tiny_model, evidence, replace(batch, boxes=corner[:0]))) == 0.0
