"""What the answer says is seen: by which thresholds, where in the images as sent, and what of it is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from app.inference.checkpoint import load_checkpoint
from app.inference.manifest import FindingDecision, Threshold
from app.inference.options import OperatingPoint
from app.report import Abnormal, Location, Measurement, Report
from tests.app.api.test_openapi import valid
from tests.app.api.test_reports import URL, post
from tests.app.checkpoints import altered
from tests.app.conftest import client_of, running
from tests.app.pictures import film, jpeg, phantom, png

pytestmark = pytest.mark.anyio
NAMES = ("cardiomegaly", "pleural effusion", "pneumothorax")
# By a temperature that leaves every probability near one half.
EVEN = 1e4
THRESHOLDS: Mapping[OperatingPoint, Threshold] = {
    "balanced": Threshold(0.5),
    "sensitive": Threshold(0.1, 1.0, 0.25),
    "specific": Threshold(0.9, 0.5, 1.0),
}


@pytest.fixture(scope="module")
def decided_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint calling everything present where it is to be sensitive, and nothing where specific."""
    decisions = [FindingDecision(name, EVEN, THRESHOLDS) for name in (*NAMES, "abnormal")]
    path = tmp_path_factory.mktemp("decided") / "decided.pt"
    assert tuple(one.name for one in load_checkpoint(tiny_checkpoint).manifest.findings) == NAMES
    return altered(tiny_checkpoint, path, findings=tuple(decisions[:-1]), abnormal=decisions[-1])


async def test_thresholds(decided_checkpoint: Path, picture: bytes) -> None:
    """The operating point chooses the thresholds that decide; /v1/model states them all, with what is known of them."""
    async with running(decided_checkpoint) as app, client_of(app) as client:
        for point, threshold, present in (("sensitive", 0.1, True), ("specific", 0.9, False)):
            answer = (await post(client, picture, operating_point=point)).json()
            assert list(answer)[3:6] == ["report", "abnormal", "findings"]
            assert answer["abnormal"] == {"probability": pytest.approx(0.5, abs=0.1), "present": present}
            assert [one["name"] for one in answer["findings"]] == [*NAMES]
            assert [(one["threshold"], one["present"]) for one in answer["findings"]] == [(threshold, present)] * 3
        by_default = (await post(client, picture)).json()
        assert {one["threshold"] for one in by_default["findings"]} == {0.5}
        stated = (await client.get("/v1/model")).json()["operating_points"]
    known = {
        "balanced": {"threshold": 0.5},
        "sensitive": {"threshold": 0.1, "sensitivity": 1.0, "specificity": 0.25},
        "specific": {"threshold": 0.9, "sensitivity": 0.5, "specificity": 1.0},
    }
    assert stated == {point: dict.fromkeys((*NAMES, "abnormal"), one) for point, one in known.items()}


async def test_the_whole_is_never_less_probable_than_one_of_its_findings(
    tiny_checkpoint: Path, tmp_path: Path, picture: bytes
) -> None:
    """Whatever the network says of the whole by itself."""
    decisions = [FindingDecision(name, EVEN, THRESHOLDS) for name in NAMES]
    unlikely = FindingDecision("abnormal", EVEN, THRESHOLDS, bias=-5.0)
    path = altered(tiny_checkpoint, tmp_path / "unlikely.pt", findings=tuple(decisions), abnormal=unlikely)
    async with running(path) as app, client_of(app) as client:
        answer = (await post(client, picture)).json()
    assert answer["abnormal"]["probability"] == max(one["probability"] for one in answer["findings"])


async def test_counted(decided_checkpoint: Path, picture: bytes) -> None:
    """/metrics counts what is seen in reports that were sent, by operating point, from 0 and without our own trials."""
    async with running(decided_checkpoint) as app, client_of(app) as client:
        assert counted((await client.get("/metrics")).text) == dict.fromkeys(series(), 0.0)
        for point in ("sensitive", "sensitive", "specific"):
            await post(client, picture, operating_point=point)
        await client.post(URL, files={"image": b"no image"})
        after = counted((await client.get("/metrics")).text)
    sensitive = {name: 2.0 for name in series() if 'sensitive"' in name and 'abnormal="false"' not in name}
    specific = {'xray_report_studies_total{abnormal="false",operating_point="specific"}': 1.0}
    assert {name: value for name, value in after.items() if value} == sensitive | specific


def series() -> list[str]:
    """All that may be counted of the three findings."""
    labels = [f'studies_total{{abnormal="{word}",' for word in ("true", "false")]
    labels += [f'findings_present_total{{finding="{name}",' for name in NAMES]
    return [f'xray_report_{one}operating_point="{point}"}}' for one in labels for point in THRESHOLDS]


def counted(metrics: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines if "_studies_total{" in name or "_present_total{" in name}


@pytest.fixture
def seeing(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Report], Report]], None]:
    """Lets the generator see what a function makes of its reports: the tiny network knows no anatomy."""
    submit = app.state.service.generator.submit

    def see(change: Callable[[Report], Report]) -> None:
        def submit_and_change(*given: Any, **options: Any) -> Future[Report]:
            changed: Future[Report] = Future()
            submit(*given, **options).add_done_callback(lambda done: changed.set_result(change(done.result())))
            return changed

        monkeypatch.setattr(app.state.service.generator, "submit", submit_and_change)

    return see


def with_everything(report: Report) -> Report:
    """As a checkpoint with every part would report on two images."""
    first, *others = report.findings
    known = Location(0, "left", "lower", (0.25, 0.5, 0.75, 1.0))
    unknown = Location(1, None, None, (0.0, 0.0, 1.0, 1.0))
    return replace(
        report,
        abnormal=Abnormal(0.86, True),
        findings=(replace(first, present=True, locations=(known, unknown)), *others),
        measurements=(Measurement("cardiothoracic_ratio", 0.54, 0),),
    )


async def test_where_findings_lie(
    client: httpx.AsyncClient, seeing: Callable[[Callable[[Report], Report]], None]
) -> None:
    """Boxes are in pixels of the upright image as sent, cropped borders counted; of side and zone there is what is
    known; all of it is as documented."""
    seeing(with_everything)
    framed = Image.new("L", (700, 800))
    framed.paste(Image.fromarray(film(500, 400)), (150, 150))
    exif = Image.Exif()
    exif[0x0112] = 6
    answer = (await post(client, png(framed), jpeg(phantom(100, 75), exif=exif))).json()
    assert (answer["images"][1]["width"], answer["images"][1]["height"]) == (100, 75)
    first, *others = answer["findings"]
    assert first["locations"] == [
        {
            "image": 0,
            "side": "left",
            "zone": "lower",
            "box": {"left": 250.0, "top": 400.0, "right": 450.0, "bottom": 650.0},
        },
        {"image": 1, "box": {"left": 0.0, "top": 0.0, "right": 100.0, "bottom": 75.0}},
    ]
    assert all("locations" not in one for one in others)
    assert answer["abnormal"] == {"probability": 0.86, "present": True}
    assert answer["measurements"] == [{"name": "cardiothoracic_ratio", "value": 0.54, "image": 0}]
    document = (await client.get("/openapi.json")).json()
    schema = document["paths"][URL]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert valid(document, schema, answer)
    example = document["components"]["schemas"]["ReportResponse"]["example"]
    assert set(answer) | {"heatmaps", "sentences"} == set(example)
    assert set(first) == set(example["findings"][0])


async def test_absent_where_nothing_is_said(client: httpx.AsyncClient, picture: bytes) -> None:
    """A checkpoint that says nothing of the whole, of places and measures has no such members in its answer."""
    answer = (await post(client, picture)).json()
    assert not {"abnormal", "measurements"} & set(answer)
    assert not [one for one in answer["findings"] if "locations" in one]
