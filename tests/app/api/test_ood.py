"""POST /v1/report with a checkpoint that takes nothing for a chest X-ray."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from app.cli import CommandError, predict
from app.inference.ood import ADVICE, OUTPUTS
from app.settings import load_settings
from app.text.tokenizer import Tokenizer
from model_training.config import Config
from model_training.export import export_model
from model_training.model.ood_head import OodHead
from model_training.model.report_model import ReportModel
from tests.app.api.test_reports import post
from tests.app.conftest import client_of, running

STRANGE = f"Image 1 does not look like a chest X-ray: score 0.018, accepted from 0.5. {ADVICE}"


@pytest.fixture(scope="session")
def strict_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: ReportModel, tiny_tokenizer: Tokenizer, tiny_config: Config
) -> Path:
    """The tiny model with a head that answers every image alike."""
    model = copy.deepcopy(tiny_model)
    head = OodHead(model.view_head.in_features)
    with torch.no_grad():
        head.read.weight.zero_()
        head.read.bias.copy_(torch.tensor([-4.0, 4.0, 0.0, 0.0, 0.0, 0.0]))
    fitted = {
        "head": head.state_dict(),
        "view_head": model.view_head.state_dict(),
        "laterals": True,
        "outputs": list(OUTPUTS),
        "thresholds": {"chest": 0.0, "inverted": 0.0, "turned": 1.0},
    }
    path = tmp_path_factory.mktemp("strict") / "strict.pt"
    export_model(model, tiny_tokenizer, tiny_config, path, intake=fitted)
    return path


@pytest.mark.anyio
async def test_refuse(strict_checkpoint: Path, picture: bytes) -> None:
    """By default it warms up, gets ready, and answers 422 with image, score and threshold."""
    async with running(strict_checkpoint) as app, client_of(app) as client:
        response = await post(client, picture)
        assert (response.status_code, response.json()["type"]) == (422, "not-a-chest-xray")
        assert response.json()["detail"] == STRANGE


@pytest.mark.anyio
async def test_warm_up_again(strict_checkpoint: Path) -> None:
    """The studies of its own by which the watchdog tries the engine are not refused."""
    async with running(strict_checkpoint) as app:
        app.state.service.generator.warm_up()


@pytest.mark.anyio
@pytest.mark.parametrize(("mode", "warnings"), [("warn", [STRANGE]), ("off", [])])
async def test_other_modes(strict_checkpoint: Path, picture: bytes, mode: str, warnings: list[str]) -> None:
    """With `warn` the report comes with the reason among its warnings, with `off` without."""
    async with running(strict_checkpoint, acceptance=mode) as app, client_of(app) as client:
        response = await post(client, picture)
        assert response.status_code == 200
        assert [w for w in response.json()["warnings"] if "chest" in w] == warnings


def test_command_line(strict_checkpoint: Path, tmp_path: Path, picture: bytes) -> None:
    """`xray-report predict` refuses in the same words."""
    file = tmp_path / "picture.png"
    file.write_bytes(picture)
    settings = load_settings(checkpoint=strict_checkpoint, device="cpu")
    with pytest.raises(CommandError, match="does not look like a chest X-ray"):
        predict(settings, [file], {}, as_text=True)
