"""Boxes and borders: a film in a wide frame is trained and scored as the film alone, boxes where they were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.inference.generator import Generator
from app.inference.options import DecodingOptions
from app.text.tokenizer import Tokenizer
from model_training.config import Config
from model_training.data import Study, StudyImage
from model_training.data.study import Box
from model_training.evaluation.generation import encode_only, generate
from model_training.model.report_model import ReportModel
from model_training.training.dataset import Examples
from tests.app.pictures import film

LEFT, TOP, WIDTH, HEIGHT = 300, 100, 400, 500


@pytest.fixture
def studies(tmp_path: Path) -> list[Study]:
    """A film with a box, and the same film within a frame with the box in the same place of the film."""
    alone = film(HEIGHT, WIDTH)
    framed = np.pad(alone, ((TOP, 200), (LEFT, 50)))
    height, width = framed.shape
    box = Box("cardiomegaly", 0.4, 0.7, 0.2, 0.1)
    x, y = (LEFT + 0.4 * WIDTH) / width, (TOP + 0.7 * HEIGHT) / height
    moved = Box("cardiomegaly", x, y, 0.2 * WIDTH / width, 0.1 * HEIGHT / height)
    made = []
    for name, pixels, drawn in (("alone", alone, box), ("framed", framed, moved)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        made.append(Study(name, (StudyImage(tmp_path / f"{name}.png", boxes=(drawn,)),)))
    return made


def test_training(
    studies: list[Study], tiny_model: ReportModel, tiny_tokenizer: Tokenizer, tiny_config: Config, tmp_path: Path
) -> None:
    """Both are the same image with the same box; also when they come from the cache."""
    texts = [{"findings": "", "impression": ""}] * 2
    for _ in range(2):
        examples = Examples(studies, texts, tiny_tokenizer, tiny_config, tiny_model, tmp_path / "cache")
        np.testing.assert_array_equal(examples.images[0], examples.images[1])
        (alone,), (framed,) = examples.boxes
        assert framed == pytest.approx(alone)
        assert alone == pytest.approx([0, -0.32, 0.3, 0.0, 0.5])


def test_evaluation(studies: list[Study], tiny_checkpoint: Path) -> None:
    """Both get the same heatmaps, and boxes in the same place of them."""
    generator = Generator.load(tiny_checkpoint)
    try:
        alone, framed = generate(generator, studies, encode_only(DecodingOptions()), heatmaps=True).reports
    finally:
        generator.close()
    assert framed.report.heatmaps == alone.report.heatmaps
    ((drawn,), (moved,)) = (one.images[0].boxes for one in (alone, framed))
    assert (moved.x, moved.y, moved.width, moved.height) == pytest.approx((drawn.x, drawn.y, drawn.width, drawn.height))
