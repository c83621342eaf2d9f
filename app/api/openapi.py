"""The OpenAPI document: what the routes say of themselves, and what only the settings and the loaded model know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.options import openapi_parameters
from app.api.service import Service
from app.api.study_reference import StudyReference
from app.api.uploads import IMAGE_TYPES, MULTIPART, REFERENCE

REPORT_PATH, PREVIEW_PATH = "/v1/report", "/v1/preview"
# Any other is taken as well: these are what clients declare.
RAW_TYPES = (*IMAGE_TYPES, "application/octet-stream")


def document(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1. Options are in it once the model is loaded."""
    service: Service = app.state.service
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    report = made["paths"][REPORT_PATH]["post"]
    options = openapi_parameters(service.model) if service.model else []
    report["parameters"] = options
    report["requestBody"] = _body(
        service.max_images,
        {option["name"]: option["schema"] for option in options},
        references=service.dicomweb is not None,
    )
    made["paths"][PREVIEW_PATH]["post"]["requestBody"] = _file_body()
    if service.settings.api_key_hashes:
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, operations in made["paths"].items():
            for operation in operations.values():
                if path.startswith("/v1/"):
                    operation["security"] = [{"key": []}]
    return made


def _body(max_images: int, options: dict[str, Any], *, references: bool) -> dict[str, Any]:
    """What may be sent; `references` to studies only where there is a server to fetch them from."""
    image = {"type": "string", "format": "binary"}
    images = {"type": "array", "minItems": 1, "maxItems": max_images, "items": image}
    form = {
        "schema": {
            "type": "object",
            "description": "The views of one study, in parts named image. Options may be fields, too.",
            "properties": {"image": images, **options},
            "required": ["image"],
            "additionalProperties": False,
        },
        "encoding": {"image": {"contentType": ", ".join(IMAGE_TYPES)}},
    }
    said = "A form, or one PNG, JPEG or DICOM file as it is, under any type but JSON: the content says what it is."
    content: dict[str, Any] = {MULTIPART: form, **{kind: {"schema": image} for kind in RAW_TYPES}}
    if references:
        said += " As JSON, the name of a study that the configured DICOMweb server has."
        content[REFERENCE] = {"schema": _inlined(StudyReference.model_json_schema())}
    return {"description": said, "required": True, "content": content}


def _file_body() -> dict[str, Any]:
    """One file, in a form or as it is."""
    image = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {"image": image}, "required": ["image"], "additionalProperties": False}
    content = {
        MULTIPART: {"schema": form, "encoding": {"image": {"contentType": ", ".join(IMAGE_TYPES)}}},
        **{kind: {"schema": image} for kind in RAW_TYPES},
    }
    return {"description": "One PNG, JPEG or DICOM file.", "required": True, "content": content}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose one definition stands where it is used: references would point into the whole document."""
    (definition,) = schema.pop("$defs").values()
    (name,) = schema["properties"]
    return schema | {"properties": {name: definition}}
