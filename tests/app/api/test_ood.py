"""POST /v1/report with checkpoints that take nothing for a chest X-ray, and everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli import main
from app.inference.ood import ADVICE
from app.text.tokenizer import Tokenizer
from model_training.config import Config
from model_training.model.report_model import ReportModel
from tests.app.api.test_reports import post
from tests.app.checkpoints import with_ood_head
from tests.app.conftest import client_of, running

STRANGE = f"Image 1 does not look like a chest X-ray: score 0.018, accepted from 0.5. {ADVICE}"


@pytest.fixture(scope="session")
def strict_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: ReportModel, tiny_tokenizer: Tokenizer, tiny_config: Config
) -> Path:
    """The tiny model with a head that takes no image for a chest X-ray."""
    path = tmp_path_factory.mktemp("strict") / "strict.pt"
    return with_ood_head(tiny_model, tiny_tokenizer, tiny_config, path, chest=-4.0)


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


@pytest.mark.anyio
@pytest.mark.parametrize(("mode", "outcome"), [("refuse", "refused"), ("warn", "warned"), ("off", "accepted")])
async def test_scores(strict_checkpoint: Path, picture: bytes, mode: str, outcome: str) -> None:
    """/metrics has the score of every image that was sent, by what became of it, and of none of our own trials."""
    async with running(strict_checkpoint, acceptance=mode) as app, client_of(app) as client:
        await post(client, picture, picture)
        metrics = (await client.get("/metrics")).text
    assert f'xray_report_ood_score_count{{outcome="{outcome}"}} 2.0' in metrics
    assert f'xray_report_ood_score_bucket{{le="0.01",outcome="{outcome}"}} 0.0' in metrics
    assert f'xray_report_ood_score_bucket{{le="0.05",outcome="{outcome}"}} 2.0' in metrics
    assert metrics.count("xray_report_ood_score_count{") == 1


@pytest.mark.anyio
async def test_scores_of_what_is_accepted(
    tiny_model: ReportModel, tiny_tokenizer: Tokenizer, tiny_config: Config, tmp_path: Path, picture: bytes
) -> None:
    """The score of an image that gets its report is there as well."""
    checkpoint = with_ood_head(tiny_model, tiny_tokenizer, tiny_config, tmp_path / "lenient.pt", chest=4.0)
    async with running(checkpoint) as app, client_of(app) as client:
        assert (await post(client, picture)).status_code == 200
        metrics = (await client.get("/metrics")).text
    assert 'xray_report_ood_score_bucket{le="0.95",outcome="accepted"} 0.0' in metrics
    assert 'xray_report_ood_score_bucket{le="0.99",outcome="accepted"} 1.0' in metrics


def test_command_line(
    strict_checkpoint: Path, tmp_path: Path, picture: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """`xray-report predict` refuses in the same words."""
    file = tmp_path / "picture.png"
    file.write_bytes(picture)
    assert main(["predict", "--checkpoint", str(strict_checkpoint), str(file)]) == 1
    assert "does not look like a chest X-ray" in capsys.readouterr().err
