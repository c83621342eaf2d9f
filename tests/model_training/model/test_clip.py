"""CLIP's image tower: open_clip is the oracle, and the export is that of every encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from app.inference.checkpoint import load_checkpoint
from app.text.tokenizer import Tokenizer
from model_training.config import Config
from model_training.export import export_model
from model_training.model import clip
from model_training.model.encoders import build_encoder
from model_training.model.report_model import ReportModel
from model_training.model.transformer_decoder import TransformerDecoder

SHAPE = (16, 32, 2, 4, 4)  # patch, width, layers, heads, grid


def original(quick: bool) -> Any:
    """open_clip's own tower of that shape, 64 pixels a side, with random weights."""
    transformer = pytest.importorskip("open_clip.transformer", reason='needs the extra "clip"')
    torch.manual_seed(0)
    return transformer.VisionTransformer(
        image_size=64, patch_size=16, width=32, layers=2, heads=4, mlp_ratio=4.0, output_dim=8, output_tokens=True,
        act_layer=transformer.QuickGELU if quick else torch.nn.GELU,
    ).eval()  # fmt: skip


@pytest.mark.parametrize("quick", [False, True])
@torch.inference_mode()
def test_the_tower_computes_what_open_clip_computes(quick: bool) -> None:
    """With its weights, a grey image has the patch features that the same image in three channels has there."""
    theirs = original(quick)
    ours = clip.ClipTower(*SHAPE, quick=quick).eval()
    ours.load(theirs.state_dict())
    images = torch.randn(2, 1, 64, 64)
    _, expected = theirs(images.expand(-1, 3, -1, -1))
    torch.testing.assert_close(ours(images)[0], expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_positions_stretch_to_other_sizes() -> None:
    """A larger image has more patches, whose positions at the ends lie near those stored."""
    tower = clip.ClipTower(*SHAPE).eval()
    smooth = torch.linspace(0, 1, 4)[:, None].expand(4, 4).flatten()
    tower.positional_embedding[1:] = smooth[:, None]
    stretched = tower.positions(7, 7)
    assert torch.equal(stretched[0], tower.positional_embedding[0])
    rows = stretched[1:, 0].view(7, 7)
    torch.testing.assert_close(rows, rows[:, :1].expand(7, 7))
    assert rows[:, 0].tolist() == sorted(rows[:, 0].tolist())
    assert tower(torch.randn(1, 1, 112, 112))[0].shape == (1, 49, 32)


@pytest.mark.parametrize("image_size", [64, 100])
def test_a_model_with_a_tower_exports(
    tiny_config: Config, tiny_tokenizer: Tokenizer, tmp_path: Path, image_size: int
) -> None:
    """The scripted model agrees with the eager one, at the size of the weights and at another."""
    torch.manual_seed(0)
    decoder = TransformerDecoder(len(tiny_tokenizer), tiny_config.model.max_new_tokens, width=32, layers=1, heads=2)
    findings = len(tiny_config.data.findings)
    model = ReportModel(
        clip.ClipTower(*SHAPE), decoder, image_size=image_size, channels=32, width=32, findings=findings
    )
    export_model(model, tiny_tokenizer, tiny_config, tmp_path / "clip.pt")
    assert load_checkpoint(tmp_path / "clip.pt").tokenizer.tokens == tiny_tokenizer.tokens


def test_towers_are_encoders_with_weights_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A state dict of the tower, or of a whole CLIP, in half precision; anything else is named as not fitting."""
    monkeypatch.setitem(clip.TOWERS, "clip-tiny", ("", *SHAPE))
    state = {name: tensor.half() for name, tensor in clip.ClipTower(*SHAPE).state_dict().items()}
    state["conv1.weight"] = state["conv1.weight"].expand(-1, 3, -1, -1) / 3
    torch.save(state, tmp_path / "tower.pt")
    torch.save({"logit_scale": torch.ones(1)} | {f"visual.{k}": v for k, v in state.items()}, tmp_path / "whole.pt")
    towers = [build_encoder("clip-tiny", str(tmp_path / f"{name}.pt")) for name in ("tower", "whole")]
    for name, tensor in towers[0].state_dict().items():
        assert torch.equal(tensor, towers[1].state_dict()[name])
    del state["ln_post.bias"]
    torch.save(state, tmp_path / "part.pt")
    with pytest.raises(ValueError, match=r"ln_post\.bias"):
        build_encoder("clip-tiny", str(tmp_path / "part.pt"))


def test_weights_of_the_other_activation_are_refused() -> None:
    """OpenAI's weights need QuickGELU, and weights that an architecture has not are answered with those it has."""
    pytest.importorskip("open_clip", reason='needs the extra "clip"')
    with pytest.raises(ValueError, match="other activation"):
        build_encoder("clip-vit-b-32", "openai")
    with pytest.raises(ValueError, match="no weights 'laion2b_s34b_b79k'; known: openai"):
        build_encoder("clip-vit-b-32-quickgelu", "laion2b_s34b_b79k")


def test_shapes_are_those_of_open_clip() -> None:
    """The table of architectures is not our invention."""
    open_clip = pytest.importorskip("open_clip", reason='needs the extra "clip"')
    for name, (architecture, patch, width, layers, _, grid) in clip.TOWERS.items():
        config = open_clip.get_model_config(architecture)
        vision = config["vision_cfg"]
        assert (vision["patch_size"], vision["width"], vision["layers"]) == (patch, width, layers)
        assert vision["image_size"] // patch == grid
        assert vision.get("head_width", 64) == 64
        assert bool(config.get("quick_gelu")) == name.endswith("quickgelu")
