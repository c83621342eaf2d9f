"""The draft as a FHIR R4 DiagnosticReport, all it refers to contained in it.

fhir.resources' models of R4B, which in these resources is R4, check what is written.

It is preliminary, and labelled as asserted by artificial intelligence (AIAST), as the AI Transparency guide asks. No
conformance to IHE's IDR is claimed, which wants final observations and an interpreter.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape
from typing import Any

from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from app.interop import codes
from app.interop.codes import Code
from app.interop.draft import LABELS_NOTE, MANUFACTURER, Draft
from app.interop.source import Source, family_and_given, iso_date

Resource = dict[str, Any]

_HL7 = "http://terminology.hl7.org/CodeSystem"
_AI = {"system": f"{_HL7}/v3-ObservationValue", "code": "AIAST", "display": "Artificial Intelligence asserted"}
_INTERPRETATION = f"{_HL7}/v3-ObservationInterpretation"
_GENDERS = {"M": "male", "F": "female", "O": "other"}


def _concept(code: str, system: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}]}


_POSITIVE = _concept("POS", _INTERPRETATION, "Positive")
_NEGATIVE = _concept("NEG", _INTERPRETATION, "Negative")


def diagnostic_report(draft: Draft, source: Source | None, text: str) -> bytes:
    """JSON. `text` is the report for reading; without a DICOM source there is no patient and no imaging study."""
    observations = list(_observations(draft, source))
    contained = [*observations, _device(draft)]
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "id": draft.id,
        "meta": {"security": [_AI]},
        "language": "en",
        "text": {"status": "generated", "div": _narrative(text)},
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{draft.id}"}],
        "status": "preliminary",
        "category": [_concept("RAD", f"{_HL7}/v2-0074", "Radiology")],
        "code": _coded(codes.procedure(len(draft.images))),
        "issued": draft.created.isoformat(),
        "result": [{"reference": f"#{one['id']}"} for one in observations],
        "conclusion": draft.sections.get("impression") or None,
        "presentedForm": [
            {
                "contentType": "text/plain; charset=utf-8",
                "language": "en",
                "data": base64.b64encode(text.encode()).decode(),
                "title": f"AI draft: {draft.model}",
            }
        ],
    }
    if source:
        contained.append(_patient(source))
        report |= _context(source)
    if source and source.identified:
        contained.append(_imaging_study(source))
        report["imagingStudy"] = [{"reference": "#study"}]
    report["contained"] = contained
    valid = DiagnosticReport.model_validate(_without_empty(report))
    return valid.model_dump_json(exclude_none=True).encode()


def _context(source: Source | None) -> Resource:
    if source is None:
        return {}
    return {"subject": {"reference": "#patient"}, "effectiveDateTime": iso_date(source.study_date)}


def _observations(draft: Draft, source: Source | None) -> Iterator[Resource]:
    for i, finding in enumerate(draft.decided, 1):
        components = [_component(codes.PROBABILITY, finding.probability)]
        if finding.threshold is not None:
            components.append(_component(codes.THRESHOLD, finding.threshold))
        yield _observation(f"finding-{i}", codes.finding(finding.name), finding.name, source) | {
            "valueCodeableConcept": _coded(codes.PRESENT if finding.present else codes.NEGATIVE),
            "interpretation": [_POSITIVE if finding.present else _NEGATIVE],
            "bodySite": {"text": finding.where} if finding.where else None,
            "component": components,
        }
    for i, one in enumerate(draft.measurements, 1):
        made = _observation(f"measurement-{i}", codes.measurement(one.name), one.name, source)
        yield made | {"valueQuantity": _quantity(one.value)}


def _observation(name: str, code: Code, text: str, source: Source | None) -> Resource:
    made = {
        "resourceType": "Observation",
        "id": name,
        "status": "preliminary",
        "category": [_concept("imaging", f"{_HL7}/observation-category", "Imaging")],
        "code": _coded(code) | {"text": text},
        "device": {"reference": "#device"},
    }
    return (
        made | _context(source) | ({"derivedFrom": [{"reference": "#study"}]} if source and source.identified else {})
    )


def _device(draft: Draft) -> Resource:
    return {
        "resourceType": "Device",
        "id": "device",
        "identifier": [{"system": "urn:xray-report:checkpoint-sha256", "value": draft.model_sha256}],
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": draft.model_name, "type": "model-name"}],
        "version": [{"value": draft.model_version}],
        "note": [{"text": f"{draft.disclaimer} {LABELS_NOTE}"}],
    }


def _patient(source: Source) -> Resource:
    family, given = family_and_given(source.patient_name.split("=")[0])
    whole = source.patient_name.replace("^", " ").strip()
    kind = _concept("MR", f"{_HL7}/v2-0203", "Medical record number")
    identifier: Resource = {"type": kind, "value": source.patient_id}
    if source.patient_id_issuer:
        identifier["assigner"] = {"display": source.patient_id_issuer}
    return {
        "resourceType": "Patient",
        "id": "patient",
        "identifier": [identifier] if source.patient_id else None,
        "name": [{"text": whole, "family": family, "given": [given] if given else None}] if whole else None,
        "gender": _GENDERS.get(source.sex),
        "birthDate": iso_date(source.birth_date),
    }


def _imaging_study(source: Source) -> Resource:
    series: dict[str, Resource] = {}
    for instance in source.instances:
        modality = {"system": codes.SYSTEMS[codes.DCM], "code": instance.modality or "OT"}
        one = series.setdefault(instance.series_uid, {"uid": instance.series_uid, "modality": modality, "instance": []})
        kind = {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{instance.sop_class_uid}"}
        one["instance"].append({"uid": instance.sop_instance_uid, "sopClass": kind})
    identifiers: list[Resource] = [{"system": "urn:dicom:uid", "value": f"urn:oid:{source.study_uid}"}]
    if source.accession:
        accession = _concept("ACSN", f"{_HL7}/v2-0203", "Accession ID")
        identifiers.append({"type": accession, "value": source.accession})
    return {
        "resourceType": "ImagingStudy",
        "id": "study",
        "identifier": identifiers,
        "status": "available",
        "subject": {"reference": "#patient"},
        "started": iso_date(source.study_date),
        "description": source.study_description,
        "numberOfSeries": len(series),
        "numberOfInstances": len(source.instances),
        "series": [*series.values()],
    }


def _narrative(text: str) -> str:
    paragraphs = "".join(f"<p>{escape(part)}</p>" for part in ("AI draft.", *text.strip().split("\n\n")))
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'


def _component(code: Code, value: float) -> Resource:
    return {"code": _coded(code), "valueQuantity": _quantity(value)}


def _quantity(value: float) -> Resource:
    """A number without a unit."""
    return {"value": round(value, 6), "unit": "1", "system": codes.SYSTEMS[codes.UCUM], "code": codes.NO_UNITS.value}


def _coded(code: Code) -> Resource:
    return _concept(code.value, codes.SYSTEMS[code.scheme], code.meaning)


def _without_empty(node: Any) -> Any:
    """Members that say nothing are left out: FHIR has no empty ones."""
    if isinstance(node, dict):
        return {name: _without_empty(value) for name, value in node.items() if value not in (None, "", [], {})}
    return [_without_empty(one) for one in node] if isinstance(node, list) else node
