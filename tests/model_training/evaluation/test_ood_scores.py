"""Groups of images that are accepted or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.inference.checkpoint import Checkpoint, load_checkpoint
from app.inference.manifest import OodDetection
from app.inference.ood import OodThresholds
from model_training.evaluation import ood_scores
from model_training.evaluation.ood_scores import OodGroup, OodScores, chest_logits, images_in, score_ood


@pytest.fixture
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    """The tiny checkpoint, as if it had been fitted to tell chest radiographs, from a logit of 0 on."""
    loaded = load_checkpoint(tiny_checkpoint)
    ood = OodDetection(OodThresholds(chest=0.0, inverted=0.0, turned=0.0))
    return replace(loaded, manifest=replace(loaded.manifest, ood=ood))


def test_shares_and_area_are_those_of_the_logits(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two films accepted, none of the others, and three of four pairs in order; a file that cannot be read, as
    the last of them, is -inf."""
    said = {"film": [1.0, -2.0], "other": [-1.0, -np.inf]}
    monkeypatch.setattr(ood_scores, "chest_logits", lambda _, paths: np.array(said[paths[0].name]))
    found = score_ood(checkpoint, {"a": [Path("film")]}, {"b": [Path("other")], "none": []})
    groups = {"a": OodGroup(2, 0.5, films=True), "b": OodGroup(2, 0.0, films=False)}
    assert found == OodScores(groups, auroc=0.75)


def test_without_out_of_distribution_detection_there_is_nothing_to_say(tiny_checkpoint: Path) -> None:
    """A checkpoint that refuses nothing has no figures of it."""
    assert score_ood(load_checkpoint(tiny_checkpoint), {"a": [Path("x")]}, {}) is None


def test_each_file_has_its_logit_and_a_broken_one_none(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """In order, whatever the batch; what cannot be read is as little a film as anything."""
    for i in range(10):
        Image.fromarray(np.full((40, 30), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "5.png").write_bytes(b"no picture")
    paths = images_in(tmp_path)
    logits = chest_logits(checkpoint, paths)
    assert [path.name for path in paths] == [f"{i}.png" for i in range(10)]
    assert np.isneginf(logits).tolist() == [i == 5 for i in range(10)]
    with torch.inference_mode():
        [alone] = chest_logits(checkpoint, paths[9:])
    assert logits[9] == pytest.approx(alone)


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    """It names the folder."""
    with pytest.raises(ValueError, match="holds no PNG or JPEG"):
        images_in(tmp_path)
