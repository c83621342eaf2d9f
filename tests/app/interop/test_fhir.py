"""The FHIR answer: valid R4, preliminary, labelled as artificial, and true to the draft."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from app.interop.fhir import diagnostic_report
from app.interop.source import Source
from tests.app.interop.drafts import draft, image, source

TEXT = "FINDINGS\nThe heart is <normal> & clear.\n\nResearch use only."


def written(images: int = 1, of: Source | None = None, **changes: Any) -> dict[str, Any]:
    """The answer, once fhir.resources has taken it for valid."""
    pictures = [image(i) for i in range(1, images + 1)]
    content = diagnostic_report(draft(*pictures, **changes), of, TEXT)
    DiagnosticReport.model_validate_json(content)
    made: dict[str, Any] = json.loads(content)
    return made


def contained(report: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one for one in report["contained"] if one["resourceType"] == kind]


@pytest.mark.parametrize(("images", "code"), [(1, "36554-4"), (2, "36643-5"), (4, "30745-4")])
def test_report_of_dicom(images: int, code: str) -> None:
    """A preliminary report of so many views, asserted by AI, with patient and study as the files have them."""
    of = source(images)
    report = written(images, of)
    assert report["status"] == "preliminary"
    assert [label["code"] for label in report["meta"]["security"]] == ["AIAST"]
    assert report["code"]["coding"][0]["code"] == code
    assert report["conclusion"] == "Left effusion."
    assert base64.b64decode(report["presentedForm"][0]["data"]).decode() == TEXT
    (patient,) = contained(report, "Patient")
    assert patient["identifier"][0]["value"] == of.patient_id
    assert (patient["name"][0]["family"], patient["name"][0]["given"]) == ("PHANTOM", ["0001"])
    (study,) = contained(report, "ImagingStudy")
    assert study["identifier"][0]["value"] == f"urn:oid:{of.study_uid}"
    listed = [instance["uid"] for series in study["series"] for instance in series["instance"]]
    assert listed == [instance.sop_instance_uid for instance in of.instances]


def test_report_of_pictures() -> None:
    """Without DICOM no patient and no study is spoken of."""
    report = written()
    assert {"subject", "imagingStudy", "effectiveDateTime"} & report.keys() == set()
    assert {one["resourceType"] for one in report["contained"]} == {"Observation", "Device"}


def test_observations() -> None:
    """A finding is an observation with its probability, decision, place and device; a measurement has its value."""
    report = written(of=source())
    by_name = {one["code"]["text"]: one for one in contained(report, "Observation")}
    for finding in draft().findings:
        one = by_name[finding.name]
        values = [component["valueQuantity"]["value"] for component in one["component"]]
        assert values == pytest.approx([finding.probability, finding.threshold], abs=1e-6)
        assert one["interpretation"][0]["coding"][0]["code"] == ("POS" if finding.present else "NEG")
        assert one["status"] == "preliminary"
    assert by_name["effusion"]["bodySite"] == {"text": "left, lower zone"}
    assert by_name["cardiothoracic_ratio"]["valueQuantity"]["value"] == 0.47
    assert "abnormal" in by_name


def test_references_lead_somewhere() -> None:
    """What is referred to is contained, and what is contained is referred to (FHIR's rules dom-3 and dom-5)."""
    report = written(2, source(2))
    ids = {one["id"] for one in report["contained"]}
    text = json.dumps(report)
    assert {one["reference"].removeprefix("#") for one in report["result"]} <= ids
    assert all(f'"#{one}"' in text for one in ids)
    assert all("meta" not in one for one in report["contained"])


def test_device() -> None:
    """The model is a device, whose note says once that it is not for clinical use and that labels are no diagnoses."""
    (device,) = contained(written(), "Device")
    assert (device["deviceName"][0]["name"], device["version"][0]["value"]) == ("phantom-model", "1.2.3")
    assert "Not for clinical use" in device["note"][0]["text"]
    assert "no diagnoses" in device["note"][0]["text"]


@pytest.mark.parametrize("name", ["", "^", "ONLY", "A^B^C^D^E", "山田^太郎", "x^" + "<&>"])
def test_odd_names(name: str) -> None:
    """Any name leads to a valid patient."""
    (patient,) = contained(written(of=source(PatientName=name, PatientSex="", PatientID="")), "Patient")
    assert ("name" in patient) == bool(name.strip("^"))
