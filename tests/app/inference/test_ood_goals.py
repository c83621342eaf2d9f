"""What the shipped checkpoint's out-of-distribution detection is worth: real chest films of every source, and pictures
of anything else.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from app.images.decode import decode_image
from app.inference.checkpoint import Checkpoint, frozen_encode, load_checkpoint
from app.inference.encoder_output import EncoderOutput
from app.inference.ood import OodPolicy
from app.inference.preprocessing import to_unit_range
from tests import ood_pictures
from tests.conftest import ROOT

FILMS = 120  # a source, evenly spaced: all of them would take minutes


class Seen(NamedTuple):
    """What the network says of one image."""

    view_logits: list[float]
    ood_logits: list[float]


class Detector:
    """The out-of-distribution detection of a checkpoint: what it says of images f32[H,W], one by one."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        assert checkpoint.manifest.ood
        self.policy = OodPolicy(checkpoint.manifest.ood.thresholds, "refuse")
        self._preprocess = checkpoint.module.preprocess
        self._encode = frozen_encode(checkpoint.module)

    @torch.inference_mode()
    def __call__(self, images: Iterable[Tensor]) -> Iterator[Seen]:
        coming = iter(images)
        while part := list(islice(coming, 8)):
            views = torch.stack([self._preprocess(image) for image in part + part[:1] * (8 - len(part))])
            encoded = EncoderOutput(*self._encode(views.contiguous(memory_format=torch.channels_last)))
            for i in range(len(part)):
                yield Seen(encoded.view_logits[i].tolist(), encoded.ood_logits[i].tolist())

    def accepted(self, images: Iterable[Tensor]) -> list[bool]:
        return [self.policy.refusal([seen.ood_logits]) is None for seen in self(images)]


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Of the first checkpoint in weights/ that has one."""
    for path in sorted((ROOT / "weights").glob("*.pt")):
        checkpoint = load_checkpoint(path)
        if checkpoint.manifest.ood:
            return Detector(checkpoint)
    pytest.skip("no checkpoint in weights/ has out-of-distribution detection")


def read(path: Path) -> Tensor:
    return to_unit_range(decode_image(path.read_bytes(), network_size=320).pixels)


def films(data: Path, source: str, split: str) -> list[Path]:
    with (data / "radiographs" / "labels.csv").open(newline="") as file:
        paths = [
            data / "radiographs" / r["file"]
            for r in csv.DictReader(file)
            if (r["source"], r["split"]) == (source, split)
        ]
    return paths[:: max(1, len(paths) // FILMS)][:FILMS]


@pytest.mark.parametrize(
    ("source", "split"),
    [("nih", "test"), ("kermany", "test"), ("hannover", "external")],
)
def test_films_are_accepted(detector: Detector, data_dir: Path, source: str, split: str) -> None:
    """Nearly all chest films of a source are accepted, also of the one it was never shown."""
    accepted = detector.accepted(map(read, films(data_dir, source, split)))
    assert np.mean(accepted) >= 0.98


@pytest.mark.parametrize("tone", [0, 128, 255])
def test_films_in_wide_borders_are_accepted(detector: Detector, data_dir: Path, tone: int) -> None:
    """A border of half a film's size on each side, black, grey or white, costs no film its report."""

    def framed(path: Path) -> Tensor:
        film = Image.open(path).convert("L")
        file = io.BytesIO()
        ImageOps.expand(film, (film.width // 2, film.height // 2), tone).save(file, "PNG")
        return to_unit_range(decode_image(file.getvalue(), network_size=320).pixels)

    assert np.mean(detector.accepted(map(framed, films(data_dir, "nih", "test")[::3]))) >= 0.97


def test_indiana_is_accepted_and_its_views_are_told(detector: Detector, data_dir: Path) -> None:
    """All films of the Indiana collection are accepted, and the lateral ones told from the frontal ones."""
    paths = sorted((data_dir / "iu_xray" / "images").iterdir())
    with (data_dir / "iu_xray" / "indiana_projections.csv").open(newline="") as file:
        projection = {row["filename"].split(".")[0]: row["projection"] for row in csv.DictReader(file)}
    lateral = [projection[path.name.split(".")[0].removeprefix("CXR")] == "Lateral" for path in paths]
    seen = list(detector(map(read, paths)))
    assert [detector.policy.refusal([one.ood_logits]) for one in seen] == [None] * len(paths)
    lateral_odds = np.array([one.view_logits[1] - one.view_logits[0] for one in seen])
    np.testing.assert_array_equal(lateral_odds > 0, lateral)


def test_real_pictures_are_refused(detector: Detector, data_dir: Path) -> None:
    """Photographs, textures, CT and MR slices that it was not fitted on are refused, all of them."""
    assert not any(detector.accepted(map(read, sorted((data_dir / "ood").iterdir()))))


def test_anything_is_refused(detector: Detector) -> None:
    """At least 99% of 217 further kinds of pictures, drawn otherwise than those it was fitted on, are refused."""
    names, pictures = zip(*ood_pictures.pictures(), strict=True)
    assert len(set(names)) >= 200
    accepted = detector.accepted(map(torch.from_numpy, pictures))
    assert sum(accepted) <= 0.01 * len(names), [name for name, taken in zip(names, accepted, strict=True) if taken]


def test_inverted_and_turned_films_are_told(detector: Detector, data_dir: Path) -> None:
    """Films saved inverted or lying on their side get the warning, and hardly any as it should be does."""
    originals = [read(path) for path in films(data_dir, "nih", "test")[:40]]
    warned = [
        np.mean([bool(detector.policy.warnings([seen.ood_logits])) for seen in detector(images)])
        for images in (originals, [1 - image for image in originals], [torch.rot90(image) for image in originals])
    ]
    assert warned[0] <= 0.03
    assert min(warned[1:]) >= 0.95
