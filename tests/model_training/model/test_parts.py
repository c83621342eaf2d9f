"""Every encoder and decoder trains, exports, loads through the service's loader and generates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from app.inference.generator import Generator
from app.inference.options import DecodingOptions
from app.text.tokenizer import BOS, Tokenizer
from model_training.config import Config, TrainingConfig, config_from
from model_training.export import export_model
from model_training.model.build import DECODERS, build_model
from model_training.model.encoders import ENCODERS, build_encoder
from model_training.training.dataset import Batch
from model_training.training.losses import loss_counts, loss_sums, objective
from tests.encoded import facts_at_random

PAIRS = [(encoder, "transformer") for encoder in ENCODERS] + [("resnet-tiny", "lstm"), ("mobilenet-v2", "lstm")]


def config_of(encoder: str, decoder: str, tiny: Config) -> Config:
    content = tiny.as_dict()
    content["model"] |= {"encoder": encoder, "decoder": decoder, "max_new_tokens": 8}
    return config_from(content)


def batch_of(size: int, vocabulary: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(6, vocabulary, (3, 7), generator=generator)
    tokens[:, 0] = BOS
    return Batch(
        images=torch.randn(4, 1, size, size, generator=generator),
        view_mask=torch.tensor([[True, True], [True, False], [True, False]]),
        views=torch.tensor([0, 1, 0, -100]),
        labels=torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, float("nan"), 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]),
        attributes=torch.full((3, 3), float("nan")),
        tokens=tokens,
        facts=facts_at_random(3, 4),
        boxes=torch.zeros(0, 6),
    )


@pytest.mark.parametrize(("encoder", "decoder"), PAIRS)
def test_any_pair_trains_exports_and_generates(
    encoder: str, decoder: str, tiny_config: Config, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """A few steps lower the loss; export proves cached stepping equal to the full pass; the service's door opens."""
    torch.manual_seed(0)
    config = config_of(encoder, decoder, tiny_config)
    model = build_model(config, len(tiny_tokenizer))
    batch = batch_of(config.model.image_size, len(tiny_tokenizer))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    curve = []
    for _ in range(5):
        loss = objective(loss_sums(model, batch), loss_counts(batch), TrainingConfig())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        optimiser.step()
        curve.append(float(loss.detach()))
    assert curve[-1] < curve[0]
    export_model(model, tiny_tokenizer, config, tmp_path / "pair.pt")
    generator = Generator.load(tmp_path / "pair.pt", device="cpu")
    try:
        picture = np.random.default_rng(0).integers(0, 256, (50, 60), dtype=np.uint8)
        options = DecodingOptions(num_beams=3, num_return_sequences=3, max_new_tokens=8)
        report = generator.submit([picture, picture], options).result(60)
    finally:
        generator.close()
    assert [0 < h.tokens <= 8 for h in report.hypotheses] == [True] * 3


@pytest.mark.parametrize("encoder", ENCODERS)
def test_no_encoder_has_a_convolution_that_corrupts_memory(encoder: str) -> None:
    """The gradient of a strided pointwise convolution of fewer than 16 channels overruns oneDNN's workspace
    (oneDNN issue 6035, in torch 2.13): on several threads the process dies at some later allocation."""
    strided = [
        layer.in_channels
        for layer in build_encoder(encoder).modules()
        if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (1, 1) and layer.stride != (1, 1)
    ]
    assert all(channels >= 16 for channels in strided)


@pytest.mark.parametrize("name", [*ENCODERS, "clip-vit-b-32"])
def test_an_encoder_says_where_its_positions_look(name: str) -> None:
    """The pixels that positions answer to spread around the middles it names: on the first pixel of a cell or on its
    middle, 16 further. Untrained networks look unevenly, hence the tolerance."""
    torch.manual_seed(0)
    encoder = build_encoder(name).eval()
    images = torch.randn(2, 1, 224, 224, requires_grad=True)
    grid = encoder(images)[0].unflatten(1, (224 // encoder.stride, -1))
    pixels = torch.arange(224) + 0.5
    off = []
    for i in (2, 3, 4):
        (answer,) = torch.autograd.grad(grid[:, i, i].pow(2).sum(), images, retain_graph=True)
        for across in (2, 3):
            line = answer.pow(2).sum((0, 1, across))
            off.append(float((line * pixels).sum() / line.sum()) - encoder.first_centre - i * encoder.stride)
    assert sum(off) / len(off) == pytest.approx(0, abs=7)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_decoder_learns_to_read_its_memory(decoder: str) -> None:
    """Trained on two memories with two texts, it tells them apart: cross-attention reaches the logits."""
    torch.manual_seed(0)
    net = DECODERS[decoder](20, 16, width=32, layers=1, heads=2, dropout=0.0)
    memory = torch.randn(2, 5, 32)
    mask = torch.ones(2, 5, dtype=torch.bool)
    tokens = torch.tensor([[BOS, 6, 7, 8, 9], [BOS, 10, 11, 12, 13]])
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(60):
        logits = net(tokens[:, :-1], memory, mask)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        optimiser.step()
    assert net(tokens[:, :-1], memory, mask).argmax(-1).tolist() == tokens[:, 1:].tolist()


def test_summed_first_convolution_answers_as_to_three_equal_channels() -> None:
    """A grey image through the single-channel encoder equals the same image thrice through the original."""
    from torchvision.models import get_model

    torch.manual_seed(0)
    original = get_model("mobilenet_v2", weights=None).eval()
    from model_training.model.encoders import to_single_channel

    grey = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        expected = original.features(grey.expand(-1, 3, -1, -1))
        to_single_channel(original.features, 1.0)
        torch.testing.assert_close(original.features(grey), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["resnet-small", "resnet-18", "mobilenet-v2", "efficientnet-v2-s"])
def test_a_finer_encoder_sees_what_the_coarse_one_sees(name: str) -> None:
    """With the same weights, every other position of it gives nearly the same, on pictures that change slowly."""
    torch.manual_seed(0)
    coarse, fine = build_encoder(name).eval(), build_encoder(name, stride=16).eval()
    fine.load_state_dict(coarse.state_dict())
    ramp = torch.linspace(-1, 1, 256).expand(1, 1, 256, 256)
    few, many = coarse(ramp)[0].view(8, 8, -1), fine(ramp)[0].view(16, 16, -1)
    inner = slice(2, 6)
    difference = (many[::2, ::2] - few)[inner, inner].abs().mean()
    assert difference < 0.05 * few[inner, inner].abs().mean()
    assert (coarse.stride, fine.stride) == (32, 16)


@pytest.mark.parametrize("name", ["densenet-121", "clip-vit-b-32"])
def test_a_network_that_cannot_be_finer_says_so(name: str) -> None:
    """Its last reduction is no convolution, or it is an image tower, whose patches are what they are."""
    with pytest.raises(ValueError, match=r"output.stride"):
        build_encoder(name, stride=16)


def test_weights_come_from_a_local_file(data_dir: Path) -> None:
    """The half-precision ImageNet state dict fits MobileNetV2, and nothing else."""
    path = str(data_dir / "pretrained" / "mobilenet_v2_imagenet.pt")
    assert build_encoder("mobilenet-v2", path).channels == 1280
    with pytest.raises(ValueError, match="does not fit"):
        build_encoder("resnet-18", path)


def test_unknown_names_are_errors_that_list_the_known(tiny_config: Config) -> None:
    """A typo in a configuration says what there is."""
    with pytest.raises(ValueError, match="densenet-121"):
        build_encoder("resnet-9")
    with pytest.raises(ValueError, match="lstm"):
        build_model(config_of("resnet-tiny", "gru", tiny_config), 10)
