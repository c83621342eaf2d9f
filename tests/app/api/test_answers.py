"""The forms of an answer over HTTP: by the Accept header, of the same report, and why one cannot be had."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import highdicom
import httpx
import pydicom
import pytest
from fastapi import FastAPI
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from PIL import Image

from app.api import answers
from tests.app.dicom_phantoms import dicom
from tests.app.interop.test_structured_report import errors_of, groups, ohif
from tests.app.pictures import film, phantom, png

pytestmark = pytest.mark.anyio
URL = "/v1/report"
FHIR, DICOM, PDF = "application/fhir+json", "application/dicom", "application/pdf"
PICTURE = film(200, 160)


async def post(client: httpx.AsyncClient, accept: str, *files: bytes, **params: Any) -> httpx.Response:
    parts = [("image", ("x", file)) for file in files]
    return await client.post(URL, files=parts, params=params, headers={"accept": accept})


def reason(response: httpx.Response) -> str:
    assert response.status_code == 406
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "not-acceptable"
    return str(problem["detail"])


def probabilities(file: bytes) -> dict[str, float]:
    """Of each group of a structured report, by its name."""
    report = highdicom.sr.Comprehensive3DSR.from_dataset(pydicom.dcmread(io.BytesIO(file)))
    return {
        group.tracking_identifier: item.value
        for group in groups(report)
        for item in group.get_measurements()
        if item.name.meaning == "Probability"
    }


@pytest.mark.parametrize("modality", ["CR", "DX", "OT"])
async def test_structured_report(client: httpx.AsyncClient, modality: str, tmp_path: Path) -> None:
    """Of computed and digital radiographs and secondary captures the SR is valid, and says what the JSON says."""
    files = dicom(PICTURE, Modality=modality), dicom(film(200, 160, 1), instance=2, Modality=modality)
    said = (await post(client, "application/json", *files)).json()
    response = await post(client, DICOM, *files)
    assert response.status_code == 200
    assert response.headers["content-type"] == DICOM
    assert response.headers["cache-control"] == "no-store"
    assert probabilities(response.content) == {one["name"]: one["probability"] for one in said["findings"]}
    made = pydicom.dcmread(io.BytesIO(response.content))
    assert len(list(ohif(made.ContentSequence))) >= len(said["findings"])
    assert said["report"]["sections"]["findings"] in [item.get("TextValue") for item in made.ContentSequence]
    assert errors_of(response.content, tmp_path) == []


async def test_encapsulated_page(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """`object=pdf`, in the query or the form, gives the page as a DICOM object of the study."""
    file = dicom(PICTURE, number=3)
    response = await post(client, DICOM, file, object="pdf")
    made = pydicom.dcmread(io.BytesIO(response.content))
    assert made.EncapsulatedDocument.startswith(b"%PDF")
    assert made.AccessionNumber == "ACCESSION-0003"
    assert errors_of(response.content, tmp_path) == []
    form = await client.post(URL, files={"image": file}, data={"object": "pdf"}, headers={"accept": DICOM})
    assert pydicom.dcmread(io.BytesIO(form.content)).SOPInstanceUID == made.SOPInstanceUID


async def test_storing_twice_changes_nothing(client: httpx.AsyncClient) -> None:
    """The same request leads to the same UIDs, another option to others; what is only shown makes no difference."""
    file = dicom(PICTURE)

    async def uids(**params: Any) -> tuple[str, str]:
        made = pydicom.dcmread(io.BytesIO((await post(client, DICOM, file, **params)).content))
        return made.SeriesInstanceUID, made.SOPInstanceUID

    first = await uids()
    assert await uids() == first
    assert await uids(include="tokens") == first
    assert (await uids(num_beams=1))[1] != first[1]
    assert (await uids(object="pdf"))[1] != first[1]


async def test_page(client: httpx.AsyncClient) -> None:
    """Any source has a page."""
    for file in (png(Image.fromarray(PICTURE)), dicom(PICTURE)):
        response = await post(client, PDF, file)
        assert (response.status_code, response.headers["content-type"]) == (200, PDF)
        assert response.content.startswith(b"%PDF")


async def test_fhir(client: httpx.AsyncClient) -> None:
    """Any source has a FHIR report, with the id, text and probabilities of a report."""
    for file, named in ((png(Image.fromarray(PICTURE)), False), (dicom(PICTURE), True)):
        said = (await post(client, "application/json", file)).json()
        response = await post(client, FHIR, file)
        assert response.headers["content-type"] == FHIR
        DiagnosticReport.model_validate_json(response.content)
        report = response.json()
        assert ("subject" in report, "imagingStudy" in report) == (named, named)
        assert report.get("conclusion", "") == said["report"]["sections"].get("impression", "")
        observations = [one for one in report["contained"] if one["resourceType"] == "Observation"]
        given = {one["code"]["text"]: one["component"][0]["valueQuantity"]["value"] for one in observations}
        assert given == pytest.approx({one["name"]: one["probability"] for one in said["findings"]}, abs=1e-6)


@pytest.mark.parametrize("accept", ["application/json", "text/plain", PDF, FHIR, DICOM])
async def test_names_its_model(client: httpx.AsyncClient, accept: str) -> None:
    """A report in any form names the checkpoint that it is of, the one that /v1/model names."""
    response = await post(client, accept, dicom(PICTURE))
    assert response.status_code == 200
    assert response.headers["x-model-sha256"] == (await client.get("/v1/model")).json()["sha256"]
    if accept == "application/json":
        assert response.json()["model"]["sha256"] == response.headers["x-model-sha256"]


async def test_picture_as_dicom(client: httpx.AsyncClient, app: FastAPI) -> None:
    """A PNG has no study to be stored in, which is said before a report is written; what else is accepted is given."""
    picture = png(phantom())
    before = app.state.service.generator.queue_depth
    assert "answered to DICOM files alone" in reason(await post(client, DICOM, picture))
    assert "answered to DICOM files alone" in reason(await post(client, DICOM, picture, dicom(PICTURE)))
    assert app.state.service.generator.queue_depth == before
    fallback = await post(client, f"{DICOM}, application/json;q=0.5", picture)
    assert fallback.headers["content-type"] == "application/json"


async def test_images_of_two_studies(client: httpx.AsyncClient) -> None:
    """No form that names a patient is given for images of two; the reason names neither, and JSON is to be had."""
    files = dicom(PICTURE), dicom(PICTURE, number=2)
    for accept in (DICOM, PDF, FHIR):
        why = reason(await post(client, accept, *files))
        assert "different studies" in why
        assert "PHANTOM" not in why
    assert (await post(client, f"{PDF}, */*;q=0.1", *files)).headers["content-type"] == "application/json"


async def test_files_without_uids(client: httpx.AsyncClient) -> None:
    """What cannot be referred to has a page and a FHIR report, but no DICOM object."""
    file = dicom(PICTURE, StudyInstanceUID=None)
    assert "name study, series and image" in reason(await post(client, DICOM, file))
    assert (await post(client, PDF, file)).status_code == 200
    report = (await post(client, FHIR, file)).json()
    assert "imagingStudy" not in report
    assert "subject" in report


@pytest.mark.parametrize("accept", [DICOM, PDF, FHIR])
@pytest.mark.parametrize("package", ["highdicom", "reportlab", "arabic_reshaper", "fhir"])
async def test_without_the_extra(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, accept: str, package: str
) -> None:
    """Where a package is missing the answer names the extra that has it, and other forms are as ever."""
    drawing = {"reportlab", "arabic_reshaper"}
    needs = {DICOM: {"highdicom", *drawing}, PDF: drawing, FHIR: {"fhir"}}
    found = importlib.util.find_spec
    monkeypatch.setattr(answers, "find_spec", lambda name: None if name.split(".")[0] == package else found(name))
    monkeypatch.setattr(answers, "_installed", answers._installed.__wrapped__)
    response = await post(client, accept, dicom(PICTURE))
    if package in needs[accept]:
        assert "extra `hospital`" in reason(response)
    else:
        assert response.status_code == 200
    assert (await post(client, f"{accept}, text/plain;q=0.1", png(phantom()))).status_code == 200


async def test_unknown_object(client: httpx.AsyncClient) -> None:
    """An object that there is none of is an error that names the option."""
    response = await post(client, DICOM, dicom(PICTURE), object="seg")
    assert response.status_code == 422
    assert response.json()["detail"] == "object takes sr, pdf"


async def test_real_files(client: httpx.AsyncClient, data_dir: Path, tmp_path: Path) -> None:
    """Of real radiographs, from several makers, every form that is given is valid."""
    given = 0
    for path in sorted((data_dir / "dicom").glob("*.dcm")):
        file = path.read_bytes()
        for params in ({"object": "sr"}, {"object": "pdf"}):
            response = await post(client, DICOM, file, **params)
            assert response.status_code < 500
            if response.status_code == 200:
                given += 1
                assert errors_of(response.content, tmp_path) == [], path.name
        fhir = await post(client, FHIR, file)
        if fhir.status_code == 200:
            DiagnosticReport.model_validate(json.loads(fhir.content))
    assert given >= 8


def test_nothing_of_it_is_imported_before_it_is_asked_for() -> None:
    """The service starts without what writes FHIR, PDF and DICOM."""
    code = "import sys, app.main; print([m for m in ('pydicom', 'highdicom', 'reportlab', 'fhir') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  # our own
    assert done.stdout.strip() == "[]"
