"""The network: what is exported computes what is trained."""

from __future__ import annotations

import copy

import pytest
import torch

from app.inference.checkpoint import script
from app.inference.errors import CheckpointError
from app.text.tokenizer import BOS, PAD, UNK, Tokenizer
from model_training.config import Config, config_from
from model_training.export import check_agreement
from model_training.model.build import build_model
from model_training.model.report_model import ReportModel
from tests.encoded import cross_kv_of


def kept(model: ReportModel, views: list[int]) -> list[torch.Tensor]:
    """What the decoder keeps of studies with so many views each."""
    size = model.image_size
    mask = torch.arange(4) < torch.tensor(views)[:, None]
    images = torch.rand(sum(views), 1, size, size, generator=torch.Generator().manual_seed(3))
    return cross_kv_of(model, images, mask)


def test_cached_stepping_equals_the_full_forward_pass(any_model: ReportModel, tiny_tokenizer: Tokenizer) -> None:
    """Teacher forcing and stepping with a cache give the same logits, for one view and for four."""
    check_agreement(any_model, script(any_model), tiny_tokenizer, views=4)


@torch.inference_mode()
def test_the_decoder_attends_to_what_it_is_conditioned_on(tiny_config: Config, tiny_tokenizer: Tokenizer) -> None:
    """Images, facts or both: what it is not conditioned on changes nothing."""
    mask = torch.ones(1, 1, dtype=torch.bool)
    pictures = [torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    for conditioning, sees, told in (("images", True, False), ("facts", False, True), ("images and facts", True, True)):
        content = tiny_config.as_dict()
        content["model"]["conditioning"] = conditioning
        model = build_model(config_from(content), len(tiny_tokenizer)).eval()
        first, second = (cross_kv_of(model, picture, mask)[0] for picture in pictures)
        assert torch.equal(first, second) is not sees
        assert torch.equal(first, cross_kv_of(model, pictures[0], mask, seed=5)[0]) is not told


@torch.inference_mode()
def test_detail_beyond_what_is_learnt_makes_no_difference(tiny_config: Config) -> None:
    """A checkerboard of single pixels is as grey as its mean to a network of half the detail."""
    content = tiny_config.as_dict()
    content["model"]["detail"] = 32
    model = build_model(config_from(content), 20).eval()
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 1.0
    assert torch.equal(model.encode(board[None, None])[1], model.encode(torch.full((1, 1, 64, 64), 0.5))[1])
    assert model.stride == 64


@torch.inference_mode()
def test_films_of_any_size_are_seen_with_the_same_detail(tiny_config: Config) -> None:
    """What is finer than the network is to see is gone before anything looks at it, in films of every size; without a
    limit it is not."""
    content = tiny_config.as_dict()
    coarse = torch.rand(32, 24, generator=torch.Generator().manual_seed(0))
    fine = coarse.repeat_interleave(8, 0).repeat_interleave(8, 1)
    fine += 0.3 * (torch.arange(256)[:, None] // 2 % 2 * 2 - 1)  # stripes that cancel in each of its pixels
    for detail, same in ((32, True), (0, False)):
        content["model"]["detail"] = detail
        seen = script(build_model(config_from(content), 20).eval())
        assert torch.allclose(seen.preprocess(coarse), seen.preprocess(fine), atol=1e-4) is same


def test_export_refuses_a_model_whose_scripted_form_disagrees(
    tiny_model: ReportModel, tiny_tokenizer: Tokenizer
) -> None:
    """The check that guards export can fail."""
    other = copy.deepcopy(tiny_model)
    with torch.no_grad():
        other.finding_bias.add_(1.0)
    with pytest.raises(CheckpointError, match="finding logits disagree"):
        check_agreement(tiny_model, script(other), tiny_tokenizer, views=2)


@torch.inference_mode()
def test_beams_follow_their_ancestors(tiny_model: ReportModel) -> None:
    """Beams that swap histories through `ancestors` compute what each history computes alone, at ragged positions."""
    cross_kv = kept(tiny_model, [1, 2])
    histories = torch.tensor([[[BOS, 6, 7, 8], [BOS, 9, 10, 11]], [[BOS, 12, 13, 14], [BOS, 12, 13, 15]]])
    alone = []
    for study in range(2):
        for beam in range(2):
            kv_cache = tiny_model.allocate(1, 1, 8)
            rows = [part[study : study + 1] for part in cross_kv]
            for t in range(4):
                ancestors = torch.zeros(1, 1, t + 1, dtype=torch.long)
                token = histories[study, beam, t].view(1, 1)
                logits = tiny_model.decode_step(token, torch.tensor([t]), ancestors, rows, kv_cache)
            alone.append(logits[0, 0])
    kv_cache = tiny_model.allocate(2, 2, 8)
    own = torch.arange(2)[None, :, None]
    ancestors = own.expand(2, 2, 4).clone()
    for t in range(3):
        step = histories[:, :, t] if t < 2 else histories[:, [1, 0], t]
        if t == 2:
            ancestors[..., :2] = torch.tensor([1, 0])[None, :, None]
        tiny_model.decode_step(step, torch.full((2,), t), ancestors[..., : t + 1], cross_kv, kv_cache)
    # Position 2 was written crossed over, so each beam's history now runs 1, 1, 0 or 0, 0, 1 and its own position is 3.
    crossed = torch.stack([histories[:, 1], histories[:, 0]], 1)
    logits = tiny_model.decode_step(crossed[:, :, 3], torch.full((2,), 3), ancestors, cross_kv, kv_cache)
    expected = torch.stack(alone).view(2, 2, -1)[:, [1, 0]]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_what_must_not_be_said_has_no_probability(tiny_model: ReportModel) -> None:
    """Padding, bos and unknown are never candidates."""
    cross_kv = kept(tiny_model, [1])
    kv_cache = tiny_model.allocate(1, 1, 1)
    position = torch.zeros(1, dtype=torch.long)
    logits = tiny_model.decode_step(torch.full((1, 1), BOS), position, position[:, None, None], cross_kv, kv_cache)
    silent = logits[0, 0].isneginf().nonzero()[:, 0].tolist()
    assert silent == sorted([PAD, BOS, UNK])


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(64, 64), (200, 100), (31, 500), (1, 1), (1, 3000)])
def test_preprocessing_keeps_the_aspect_ratio_and_takes_out_exposure(
    tiny_model: ReportModel, shape: tuple[int, int]
) -> None:
    """Any size becomes a padded square, and a darker or flatter exposure of a picture gives the same input."""
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    out = tiny_model.preprocess(image)
    assert out.shape == (1, 64, 64)
    assert bool(out.isfinite().all())
    if min(shape) > 1:
        darker = tiny_model.preprocess(0.1 + 0.5 * image)
        torch.testing.assert_close(out, darker, atol=0.05, rtol=0.05)


@torch.inference_mode()
def test_evidence_of_views_adds_up(tiny_model: ReportModel) -> None:
    """The same view twice doubles the evidence for a finding and counts the prior once."""
    image = torch.rand(1, 1, 64, 64)
    findings = tiny_model.encode(image)[1]
    once = tiny_model.join(findings[None], torch.tensor([[True]]))
    pair = torch.cat([findings, findings])[None]
    twice = tiny_model.join(pair, torch.tensor([[True, True]]))
    torch.testing.assert_close(tiny_model.join(pair, torch.tensor([[True, False]])), once)
    bias = tiny_model.finding_bias
    torch.testing.assert_close(twice - bias, 2 * (once - bias))


@torch.inference_mode()
def test_a_picture_that_says_nothing_leaves_the_prior(tiny_model: ReportModel) -> None:
    """Without evidence a finding is as likely as in the studies learnt from, whatever the number of views."""
    model = copy.deepcopy(tiny_model)
    model.finding_head.weight.zero_()
    model.set_prior(torch.tensor([[1.0, torch.nan, 0.0, 1.0]] * 2 + [[0.0, torch.nan, 0.0, 1.0]] * 5))
    _, findings, *_ = model.encode(torch.rand(1, 1, 64, 64))
    torch.testing.assert_close(findings.sigmoid()[0], torch.tensor([3 / 9, 1 / 2, 1 / 9, 8 / 9]))


@torch.inference_mode()
@pytest.mark.parametrize("views", [1, 4])
def test_attention_is_what_the_decoder_steps_by(
    any_decoder: ReportModel, views: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive's weights are those with which stepping attends to the memory; views not given get none."""
    used: list[torch.Tensor] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def spy(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor) -> torch.Tensor:
        if key.shape[2] == 20:  # the facts of three findings and the whole, and four views; not the words
            eye = torch.eye(20).expand(*key.shape[:2], 20, 20)
            used.append(original(query, key, eye, attn_mask=attn_mask).mean(1)[0])
        return original(query, key, value, attn_mask=attn_mask)

    tokens = torch.tensor([[BOS, 6, 7, 8, 9]])
    cross_kv = kept(any_decoder, [views])
    attention = script(any_decoder).attention(tokens, cross_kv)[0]
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    kv_cache = any_decoder.allocate(1, 1, 5)
    for t in range(5):
        ancestors = torch.zeros(1, 1, t + 1, dtype=torch.long)
        any_decoder.decode_step(tokens[:, t : t + 1], torch.tensor([t]), ancestors, cross_kv, kv_cache)
    torch.testing.assert_close(attention, torch.cat(used).view(5, -1, 20).mean(1))
    torch.testing.assert_close(attention.sum(1), torch.ones(5))
    assert bool((attention[:, 4 + 4 * views :] == 0).all())


@pytest.fixture(params=["images", "facts", "images and facts"])
def any_model(request: pytest.FixtureRequest, tiny_config: Config, tiny_tokenizer: Tokenizer) -> ReportModel:
    """The tiny network conditioned in each way."""
    content = tiny_config.as_dict()
    content["model"] |= {"conditioning": request.param}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build_model(config_from(content), len(tiny_tokenizer)).eval()


@pytest.fixture(params=["transformer", "lstm"])
def any_decoder(request: pytest.FixtureRequest, tiny_config: Config, tiny_tokenizer: Tokenizer) -> ReportModel:
    """The tiny network with each decoder."""
    content = tiny_config.as_dict()
    content["model"] |= {"decoder": request.param}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build_model(config_from(content), len(tiny_tokenizer)).eval()


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(400, 400), (600, 300), (250, 500)])
def test_a_region_lays_positions_back_on_the_image(tiny_model: ReportModel, shape: tuple[int, int]) -> None:
    """What the preprocessed square shows at the middle of a position is what the image has there: a ramp comes back."""
    height, width = shape
    model = copy.deepcopy(tiny_model)
    model.stride, model.first_centre = 16.0, 8.0  # finer than it is, so that some lie within every shape
    left, top, right, bottom = model.region(height, width, 4)
    for axis, (low, high) in enumerate(((top, bottom), (left, right))):
        ramp = (torch.arange(shape[axis]) + 0.5) / shape[axis]
        image = (ramp[:, None] if axis == 0 else ramp).expand(shape).contiguous()
        square = model.preprocess(image)[0] * (image.std(correction=0) + 1e-3) + image.mean()
        line = (square[:, 32] if axis == 0 else square[32]).view(4, 16)
        middles = line[:, 7:9].mean(1)
        wanted = torch.tensor([low + (high - low) * (i + 0.5) / 4 for i in range(4)])
        shown = (wanted > 0.02) & (wanted < 0.98)
        torch.testing.assert_close(middles[shown], wanted[shown], atol=0.01, rtol=0)
        assert bool(shown.any())
