"""GET /v1/model: what is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from app.api.auth import require_api_key
from app.api.options import ReportOptions, option_schemas
from app.api.schemas import OptionValues, problem_responses
from app.api.service import ServiceDep
from app.inference.options import MAX_BEAMS, OperatingPoint
from app.inference.served_model import ServedModel
from app.report import DISCLAIMER
from app.settings import Settings

router = APIRouter(prefix="/v1", tags=["model"], dependencies=[Depends(require_api_key)])


class Threshold(BaseModel):
    """The probability from which on something may be called present, and how that does on validation where known."""

    threshold: float
    sensitivity: float | None = None
    specificity: float | None = None


class ModelResponse(BaseModel):
    """What is served, how, and within which limits."""

    name: str
    version: str
    sha256: str
    device: str
    precision: str
    intended_use: str
    training_data: list[Any]
    metrics: dict[str, Any]
    sections: list[str]
    findings: list[str]
    views: list[str]
    views_read: list[str] = Field(description="The views it has learnt; images of others are not read.")
    operating_points: dict[OperatingPoint, dict[str, Threshold]] = Field(
        description="Of each operating point, the threshold of each finding, and of `abnormal` where that is said."
    )
    default_options: OptionValues
    options: dict[str, dict[str, Any]] = Field(description="What each option may be, as JSON Schema.")
    limits: dict[str, int | float]
    disclaimer: str = DISCLAIMER

    @classmethod
    def of(cls, model: ServedModel, limits: Mapping[str, int | float]) -> ModelResponse:
        """A model's card, with the `limits` of the service around it."""
        return cls(
            name=model.name,
            version=model.version,
            sha256=model.sha256,
            device=model.device,
            precision=model.precision,
            intended_use=model.intended_use,
            training_data=list(model.training_data),
            metrics=dict(model.metrics),
            sections=list(model.section_names),
            findings=list(model.finding_names),
            views=list(model.view_names),
            views_read=list(model.views_read),
            operating_points={
                point: {
                    name: Threshold(threshold=one.probability, sensitivity=one.sensitivity, specificity=one.specificity)
                    for name, one in thresholds.items()
                }
                for point, thresholds in model.operating_points.items()
            },
            default_options=ReportOptions(model.default_options, model.section_names).as_dict(),
            options=option_schemas(model),
            limits=dict(limits),
        )


@router.get(
    "/model",
    responses=problem_responses("unauthorized", "model-not-ready"),
    response_model_exclude_none=True,
)
async def describe_model(service: ServiceDep) -> ModelResponse:
    """The checkpoint, where and how it runs, its options with their defaults and ranges, and every limit."""
    if service.model is None:
        raise service.unavailable()
    return describe(service.model, service.settings)


def describe(model: ServedModel, settings: Settings) -> ModelResponse:
    """What is said of a model that runs with these settings."""
    limits = {
        "max_images": min(settings.max_images, model.limits.max_views),
        "max_body_bytes": settings.max_body_bytes,
        "max_image_bytes": settings.max_image_bytes,
        "max_pixels": settings.max_pixels,
        "max_num_beams": MAX_BEAMS,
        "max_new_tokens": model.limits.max_new_tokens,
        "max_rows": settings.max_rows,
        "max_queue": settings.max_queue,
        "max_requests": settings.max_requests,
        "max_buffered_bytes": settings.max_buffered_bytes,
        "receive_deadline_seconds": settings.receive_deadline_seconds,
        "request_deadline_seconds": settings.request_deadline_seconds,
        "decode_deadline_seconds": settings.decode_deadline_seconds,
    }
    return ModelResponse.of(model, limits)
