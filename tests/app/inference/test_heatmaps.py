"""Heatmaps: what the network itself says of where it looked, laid on the image it was shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.inference.checkpoint import Checkpoint, load_checkpoint
from app.inference.encoder_output import EncoderOutput
from app.inference.generator import Generator
from app.inference.heatmaps import make_heatmaps
from app.inference.network.encoder import Encoding, study_encoder
from app.inference.options import DecodingOptions
from app.inference.preprocessing import to_unit_range
from app.report import Finding, Heatmap, Heatmaps
from app.text.sentences import sentences_of
from app.text.tokenizer import BOS, EOS

SHAPES = ((90, 60), (64, 64), (50, 80))
REPORT = {
    "findings": "The lungs are clear. There is a small pleural effusion, with no pneumothorax. Mild cardiomegaly.",
    "impression": "No acute disease.",
}
FINDINGS = (
    Finding("cardiomegaly", 0.5, True, 0.5),
    Finding("pleural effusion", 0.6, True, 0.5),
    Finding("pneumothorax", 0.2, False, 0.5),
)
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def generator(checkpoint: Checkpoint) -> Iterator[Generator]:
    generator = Generator(checkpoint, device="cpu")
    yield generator
    generator.close()


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    rng = np.random.default_rng(4)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in SHAPES]


@pytest.fixture(scope="module")
def encoding(checkpoint: Checkpoint, images: list[Pixels]) -> Encoding:
    """The study as the engine encodes it, beside another one."""
    module: Any = checkpoint.module
    encode = study_encoder(checkpoint, lambda images: EncoderOutput(*module.encode(images)), torch.device("cpu"))
    with torch.inference_mode():
        views = torch.stack([module.preprocess(to_unit_range(image)) for image in images])
        return encode([torch.zeros(1, 1, 64, 64), views], ["balanced", "balanced"])[0][1]


@pytest.fixture(scope="module")
def heatmaps(checkpoint: Checkpoint, encoding: Encoding) -> Heatmaps:
    """Those of a report that the network might have written."""
    ids = [*checkpoint.tokenizer.encode(REPORT), EOS]
    sentences = sentences_of([checkpoint.tokenizer.tokens[i] for i in ids], tuple(REPORT))
    with torch.inference_mode():
        return make_heatmaps(checkpoint.module, encoding, SHAPES, FINDINGS, ids, sentences)


def shares(maps: tuple[Heatmap, ...]) -> torch.Tensor:
    """What the levels stand for, f32[V,rows,columns]."""
    assert [one.image for one in maps] == list(range(len(maps)))
    assert len({one.scale for one in maps}) == 1
    assert max(max(map(max, one.levels)) for one in maps) == 255
    return torch.tensor([one.levels for one in maps]) / 255 * maps[0].scale


def test_only_who_asks_gets_heatmaps(generator: Generator, images: list[Pixels]) -> None:
    """And the report is the same."""
    options = DecodingOptions(num_beams=3, max_new_tokens=40)
    without, with_heatmaps = (generator.submit(images, options, heatmaps=h).result(60) for h in (False, True))
    assert without.heatmaps is None
    assert with_heatmaps.heatmaps
    assert with_heatmaps.hypotheses == without.hypotheses
    assert [one.name for one in with_heatmaps.heatmaps.findings] == [finding.name for finding in without.findings]
    written = " ".join(without.hypotheses[0].sections.values())
    assert " ".join(sentence.text for sentence in with_heatmaps.heatmaps.sentences) == written


def test_the_share_of_a_position_is_what_its_evidence_does_to_the_finding(
    encoding: Encoding, heatmaps: Heatmaps
) -> None:
    """The map of a finding is the gradient of its logit by the evidence, which sums to 1 over each image."""
    evidence = encoding.evidence.clone().requires_grad_()
    for i, finding in enumerate(heatmaps.findings):
        (gradient,) = torch.autograd.grad(torch.logsumexp(evidence[..., i], 1).sum(), evidence)
        got = shares(finding.maps)
        torch.testing.assert_close(got.flatten(1), gradient[..., i], atol=finding.maps[0].scale / 255, rtol=0)


def test_a_sentence_has_the_evidence_of_what_it_names(heatmaps: Heatmaps) -> None:
    """Findings weigh by their probabilities; a denial looks where it would be, and the answer says so."""
    heart, effusion, pneumothorax = (shares(finding.maps) for finding in heatmaps.findings)
    sentences = {sentence.text: sentence for sentence in heatmaps.sentences}
    both = sentences["There is a small pleural effusion, with no pneumothorax."]
    assert (both.section, both.source) == ("findings", "evidence")
    assert both.findings == ("pleural effusion", "pneumothorax")
    torch.testing.assert_close(shares(both.maps), 0.75 * effusion + 0.25 * pneumothorax, atol=0.01, rtol=0)
    torch.testing.assert_close(shares(sentences["Mild cardiomegaly."].maps), heart, atol=0.01, rtol=0)


def test_a_sentence_that_names_nothing_has_the_attention_of_its_words(
    checkpoint: Checkpoint, encoding: Encoding, heatmaps: Heatmaps
) -> None:
    """That of the query before each word, over the images alone: facts come first, views not given last."""
    ids = checkpoint.tokenizer.encode(REPORT)
    with torch.inference_mode():
        cross_kv = [table[None] for table in encoding.cross_kv]
        module: Any = checkpoint.module
        attention = module.attention(torch.tensor([[BOS, *ids]]), cross_kv)[0]
    lungs, disease = (s for s in heatmaps.sentences if s.source == "attention")
    assert (lungs.text, disease.text) == ("The lungs are clear.", "No acute disease.")
    assert lungs.findings == ()
    for sentence, positions in ((lungs, [1, 2, 3, 4]), (disease, list(range(len(ids) - 4, len(ids) - 1)))):
        wanted = attention[positions].mean(0)[4:16].view(3, 2, 2)
        torch.testing.assert_close(shares(sentence.maps), wanted, atol=2e-3, rtol=0)


def test_boxes_keep_the_square_within_the_image_they_belong_to(heatmaps: Heatmaps) -> None:
    """The longer side spans two positions of 32 pixels, laid half a position to the left and above."""
    for (height, width), one in zip(SHAPES, heatmaps.findings[0].maps, strict=True):
        left, top, right, bottom = one.box
        longest = max(height, width)
        assert (right - left) * width == pytest.approx(longest, rel=0.02)
        assert (bottom - top) * height == pytest.approx(longest, rel=0.02)
        shift = 15.5 / 64 * longest  # positions are centred on the first pixel of their cells
        assert (left + right) / 2 * width == pytest.approx(width / 2 - shift, abs=0.02 * longest)
        assert (top + bottom) / 2 * height == pytest.approx(height / 2 - shift, abs=0.02 * longest)
