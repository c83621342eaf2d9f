"""GET /v1/model: what is served."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from app.api.auth import require_api_key
from app.api.schemas import ModelResponse, problem_responses
from app.api.service import ServiceDep
from app.inference.options import MAX_BEAMS

router = APIRouter(prefix="/v1", tags=["model"], dependencies=[Depends(require_api_key)])


@router.get("/model", responses=problem_responses("unauthorized", "model-not-ready"))
async def describe_model(service: ServiceDep) -> ModelResponse:
    """The checkpoint, where and how it runs, its default options and every limit."""
    if service.generator is None:
        raise service.unavailable()
    model, settings = service.generator.model, service.settings
    limits = {
        "max_images": service.max_images,
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
