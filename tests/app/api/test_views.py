"""POST /v1/report with a checkpoint that has learnt frontal views alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from app.cli import main
from app.report import DISCLAIMER
from tests.app.api.test_reports import URL, post
from tests.app.checkpoints import altered
from tests.app.conftest import client_of, running
from tests.app.pictures import phantom, png

pytestmark = pytest.mark.anyio
FRONTAL, LATERAL = phantom(), phantom(90, 70, shift=40)
NOT_READ = "Image 2 looks like a lateral view, which the model has not learnt: it was not read."


def tell_apart(module: Any) -> None:
    """Makes the view head take the one picture for frontal, the other for lateral."""
    pixels = [torch.from_numpy(np.asarray(picture, np.float32) / 255) for picture in (FRONTAL, LATERAL)]
    _, summary = module.encoder(torch.stack([module.preprocess(one) for one in pixels]))
    towards = summary[0] - summary[1]
    towards = towards * 8 / towards.square().sum()
    middle = towards @ summary.mean(0)
    module.view_head.weight.copy_(torch.stack([towards, -towards]))
    module.view_head.bias.copy_(torch.stack([-middle, middle]))


@pytest.fixture(scope="module")
def frontal_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frontal") / "frontal.pt"
    return altered(tiny_checkpoint, path, tell_apart, views_read=("frontal",))


@pytest.fixture(scope="module")
async def frontal(frontal_checkpoint: Path, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    """A service that reads frontal views alone, and is ready."""
    async with running(frontal_checkpoint) as app, client_of(app) as client:
        yield client


async def test_other_views_are_not_read(frontal: httpx.AsyncClient) -> None:
    """An image of another view is accepted, said not to be read, and changes nothing of the report."""
    alone = (await post(frontal, png(FRONTAL))).json()
    both = (await post(frontal, png(FRONTAL), png(LATERAL))).json()
    assert [(one["view"], one["read"]) for one in both["images"]] == [("frontal", True), ("lateral", False)]
    assert [one["read"] for one in alone["images"]] == [True]
    assert NOT_READ in both["warnings"]
    assert not [warning for warning in alone["warnings"] if "was not read" in warning]
    assert both["report"]["text"] == alone["report"]["text"]
    for one, other in zip(both["findings"], alone["findings"], strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)


async def test_plain_text(frontal: httpx.AsyncClient) -> None:
    """The report for reading says so, too."""
    files = [("image", png(picture)) for picture in (FRONTAL, LATERAL)]
    response = await frontal.post(URL, files=files, headers={"accept": "text/plain"})
    assert f"Warning: {NOT_READ}\n" in response.text
    assert response.text.endswith(DISCLAIMER + "\n")


@pytest.mark.parametrize("images", [1, 3])
async def test_no_usable_view(frontal: httpx.AsyncClient, images: int) -> None:
    """A study without a view that is read gets a problem that names those that are, and is counted as refused."""
    response = await post(frontal, *[png(LATERAL)] * images)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "no-usable-view"
    assert problem["title"] == "No image shows a view that the model reads."
    assert "reads frontal views" in problem["detail"]
    assert 'xray_report_rejected_total{reason="no-usable-view"}' in (await frontal.get("/metrics")).text
    assert (await frontal.get("/readyz")).status_code == 200


async def test_model(frontal: httpx.AsyncClient) -> None:
    """/v1/model names the views it knows and those it reads."""
    answer = (await frontal.get("/v1/model")).json()
    assert (answer["views"], answer["views_read"]) == (["frontal", "lateral"], ["frontal"])


async def test_documented(frontal: httpx.AsyncClient) -> None:
    """The problem stands among those of a report."""
    responses = (await frontal.get("/openapi.json")).json()["paths"][URL]["post"]["responses"]
    assert "no-usable-view" in responses["422"]["description"].split(", ")


def test_command_line(frontal_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`xray-report predict` says it in one line."""
    file = tmp_path / "lateral.png"
    file.write_bytes(png(LATERAL))
    assert main(["predict", "--checkpoint", str(frontal_checkpoint), str(file)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "reads frontal views" in line
