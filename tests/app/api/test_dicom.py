"""POST /v1/report with DICOM files: the reports that PNGs get, refusals by reason, and nothing of patients in logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1

from app.cli import main
from benchmarks.server import Server
from tests.app.api.test_reports import URL, post
from tests.app.dicom_bombs import bombs
from tests.app.dicom_phantoms import LOSSLESS, Storage, describe, dicom
from tests.app.pictures import film, png
from tests.app.running_server import serving

pytestmark = pytest.mark.anyio
PICTURE = film(320, 256)
PICTURE[20:30, 20:40] = 255
PICTURE[:8, :8] = 0
FINE = PICTURE.astype(np.uint16) * 257
SECRETS = (
    "PatientName",
    "PatientID",
    "AccessionNumber",
    "StudyDate",
    "PatientBirthDate",
    "StudyInstanceUID",
    "StudyID",
)


async def test_same_report(client: httpx.AsyncClient) -> None:
    """The same picture gets the same report as PNG and in every DICOM encoding; one that loses something too, here."""
    expected = (await post(client, png(Image.fromarray(PICTURE)))).json()["report"]["text"]
    storages = [Storage(syntax, bits) for syntax in LOSSLESS for bits in (8, 12, 16)]
    storages += [Storage(bits=12, signed=True, photometric="MONOCHROME1"), Storage(JPEGBaseline8Bit, 8)]
    for storage in storages:
        response = await post(client, dicom(FINE, storage))
        assert response.status_code == 200, storage
        assert response.json()["report"]["text"] == expected, storage
        (image,) = response.json()["images"]
        assert (image["format"], image["width"], image["height"]) == ("DICOM", 256, 320)


async def test_raw_body(client: httpx.AsyncClient) -> None:
    """A single file is the body as well, under its own type or any."""
    file = dicom(FINE, Storage(JPEGLosslessSV1, 12))
    answers = [
        await client.post(URL, content=file, headers={"content-type": kind})
        for kind in ("application/dicom", "application/octet-stream", "image/png")
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["report"]["text"] for answer in answers}) == 1
    assert "application/dicom" in (await client.post(URL, content=b"text")).headers["accept-post"]


async def test_view(client: httpx.AsyncClient) -> None:
    """Where header and model differ on the view, the reader is told and the model decides; else nothing is said."""
    by_view = {}
    for name, position in (("frontal", "PA"), ("lateral", "LL")):
        by_view[name] = (await post(client, dicom(FINE, ViewPosition=position))).json()
    (guess,) = {answer["images"][0]["view"] for answer in by_view.values()}
    other = "lateral" if guess == "frontal" else "frontal"
    assert not [warning for warning in by_view[guess]["warnings"] if "header" in warning]
    (warning,) = [warning for warning in by_view[other]["warnings"] if "header" in warning]
    assert warning.startswith(f"Image 1: its header calls it a {other} view, but the model takes it for a {guess} one")
    assert by_view[guess]["report"] == by_view[other]["report"]


@pytest.mark.parametrize(
    ("tags", "status", "kind", "word"),
    [
        ({"Modality": "MG"}, 422, "unsupported-modality", "MG"),
        ({"NumberOfFrames": 3}, 422, "multi-frame", "frames"),
        ({"Rows": 9}, 200, "", ""),
        ({"Rows": 9999}, 422, "corrupt-image", "fewer pixels"),
        ({"Columns": 60_000, "Rows": 60_000}, 413, "image-too-large", "pixels"),
    ],
)
async def test_problems(client: httpx.AsyncClient, tags: dict[str, Any], status: int, kind: str, word: str) -> None:
    """What is refused is refused with its reason, as documented."""
    response = await post(client, dicom(FINE, **tags))
    assert response.status_code == status
    if kind:
        assert response.json()["type"] == kind
        assert word in response.json()["detail"]
        responses = (await client.get("/openapi.json")).json()["paths"][URL]["post"]["responses"]
        assert kind in responses[str(status)]["description"].split(", ")


def test_predict(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`xray-report predict` reads DICOM, and says what it does not read in one line."""
    good, bad = tmp_path / "good.dcm", tmp_path / "bad.dcm"
    good.write_bytes(dicom(FINE, Storage(JPEG2000Lossless, 12)))
    bad.write_bytes(dicom(FINE, Modality="CT"))
    assert main(["predict", "--json", "--checkpoint", str(tiny_checkpoint), str(good)]) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["format"] == "DICOM"
    assert main(["predict", "--checkpoint", str(tiny_checkpoint), str(bad)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "modality is CT" in line


@pytest.fixture(scope="module")
def server(tiny_checkpoint: Path) -> Iterator[Server]:
    with serving(tiny_checkpoint, log_level="debug") as server:
        yield server


def test_no_patient_leaves_a_trace(server: Server) -> None:
    """Whatever becomes of their files, no name, number, date or UID of patients is in answers, log or metrics."""
    files = [dicom(FINE, Storage(syntax, 12), number=i) for i, syntax in enumerate(LOSSLESS, 1)]
    files += [
        dicom(FINE, number=20, Modality="CT"),
        dicom(FINE, number=21, NumberOfFrames=2),
        dicom(FINE, number=22)[:3000],
        dicom(FINE, number=23, Modality="PHANTOM^0023"),
        dicom(FINE, number=24, BodyPartExamined="PHANTOM-ID-0024", ViewPosition="PHANTOM^0024"),
        dicom(
            FINE, Storage(ExplicitVRBigEndian), number=25, PatientName="PHANTOM^0025" * 200, SpecificCharacterSet="no"
        ),
        dicom(FINE, number=26, PhotometricInterpretation="PHANTOM^0026"),
        dicom(FINE, number=27, SOPClassUID="PHANTOM^0027", Modality=None),
    ]
    files += [file for _, file in bombs() if len(file) < 2**20]
    written = []
    with server.client() as client:
        for i, file in enumerate(files):
            body: dict[str, Any] = {"content": file} if i % 2 else {"files": {"image": ("PHANTOM^0001.dcm", file)}}
            response = client.post(URL, **body)
            assert response.status_code in (200, 413, 415, 422)
            written += [response.text, str(response.headers)]
        written.append(client.get("/metrics").text)
    written.append(server.written)
    assert sum(entry["message"] == "request" for entry in server.log) >= len(files)
    everything = "\n".join(written)
    for number in (*range(1, len(LOSSLESS) + 1), *range(20, 28)):
        secrets = [str(describe(number, 1, Modality="DX")[keyword].value) for keyword in SECRETS]
        assert not [secret for secret in secrets if secret in everything]
    assert "PHANTOM" not in everything
