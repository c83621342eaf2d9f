"""Encoding in the machine's own ways against its oracle, the archive's `encode`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from app.inference.checkpoint import Checkpoint, frozen_encode, load_checkpoint
from app.inference.encoder_output import EncoderOutput
from app.inference.network.encoder import Encode, OpenVinoEncode, RecordedEncode, make_encode, study_encoder
from app.inference.options import OPERATING_POINTS
from tests.app.chests import chest

CPU = torch.device("cpu")


@pytest.fixture
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint)


def pictures(count: int, checkpoint: Checkpoint, seed: int = 0) -> torch.Tensor:
    size = checkpoint.manifest.image_size
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))


def worst(encode: Encode, checkpoint: Checkpoint) -> float:
    with torch.inference_mode():
        images = pictures(5, checkpoint)
        pairs = zip(encode(images), checkpoint.module.encode(images), strict=True)
        # Relative to the largest number of its kind: evidence by position is larger than what is made of it.
        return max(float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1)) for ours, theirs in pairs)


def test_what_the_machine_chooses_encodes_as_the_archive_does(checkpoint: Checkpoint) -> None:
    """Whatever runs in exact mode gives the archive's numbers but for rounding."""
    assert worst(make_encode(checkpoint.module, "exact", CPU), checkpoint) < 1e-4


def test_folding_batch_norms_changes_rounding_only(checkpoint: Checkpoint) -> None:
    """The frozen graph, which runs where OpenVINO is not installed, gives the archive's numbers."""
    assert worst(frozen_encode(checkpoint.module), checkpoint) < 1e-4


@pytest.mark.parametrize(("bfloat16", "tolerance"), [(False, 1e-4), (True, 0.1)])
def test_openvino_encodes_as_the_archive_does(checkpoint: Checkpoint, bfloat16: bool, tolerance: float) -> None:
    """In float32 but for rounding; in bfloat16 within its precision."""
    pytest.importorskip("openvino", reason='needs the extra "openvino"')
    assert worst(OpenVinoEncode(frozen_encode(checkpoint.module), bfloat16=bfloat16), checkpoint) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.4)])
def test_recorded_encoding_gives_what_the_archive_gives(
    checkpoint: Checkpoint, dtype: torch.dtype, tolerance: float
) -> None:
    """Replayed on other images than it was recorded with. The recorder here does the work again as a GPU would."""

    def record(work: Callable[[], None]) -> Callable[[], None]:
        work()
        return work

    encode = RecordedEncode(checkpoint.module, dtype, record)
    encode(pictures(5, checkpoint, seed=1))
    assert worst(encode, checkpoint) < tolerance


def test_without_openvino_the_frozen_graph_runs(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    encode = make_encode(checkpoint.module, "exact", CPU)
    assert not isinstance(encode, OpenVinoEncode)
    assert worst(encode, checkpoint) < 1e-4


@torch.inference_mode()
def test_studies_encoded_together_get_what_each_gets_alone(checkpoint: Checkpoint) -> None:
    """More images than go at once, 1 to 4 a study: batches are filled up and split, and nobody notices."""
    encoder = study_encoder(checkpoint, make_encode(checkpoint.module, "exact", CPU), CPU)
    studies = [pictures(1 + i % 4, checkpoint, i) for i in range(11)]
    encoder.max_images = 16
    assert sum(map(len, studies)) > encoder.max_images
    points = [OPERATING_POINTS[i % 3] for i in range(11)]
    together, cross_kv = encoder(studies, points)
    for i, study in enumerate(studies):
        [alone], own = encoder([study], [points[i]])
        for field in fields(alone):
            ours, theirs = getattr(together[i], field.name), getattr(alone, field.name)
            if field.name == "decisions":
                assert ours.facts == theirs.facts
                continue
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        assert len(alone.view_logits) == len(alone.ood_logits) == len(alone.evidence) == len(study)
        for table, row in zip(cross_kv, own, strict=True):
            torch.testing.assert_close(table[i], row[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("view", [0, 1])
def test_only_frontal_images_are_measured(checkpoint: Checkpoint, view: int) -> None:
    """A lateral image is read, but no heart is measured and nothing located in it, whatever it looks like."""
    sideways = torch.eye(2)[view] * 20

    def encode(images: torch.Tensor) -> EncoderOutput:
        output = EncoderOutput(*checkpoint.module.encode(images))
        logits, maps = sideways.expand(len(images), 2), chest().expand(len(images), -1, -1, -1)
        return output._replace(view_logits=logits, anatomy=maps)

    encoder = study_encoder(checkpoint, encode, CPU)
    with torch.inference_mode():
        ((encoding,), _) = encoder([pictures(1, checkpoint)], OPERATING_POINTS[:1])
    frontal = checkpoint.manifest.view_names[view] == "frontal"
    assert encoding.read == [True]
    assert [one.name for one in encoding.decisions.measurements] == ["cardiothoracic_ratio"] * frontal
    assert all(bool(finding.locations) == (frontal and finding.present) for finding in encoding.decisions.findings)
