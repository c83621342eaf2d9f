"""For orchestrators: is it alive, may it be sent requests, how does it fare."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.problems import Problem
from app.api.schemas import Health, problem_responses
from app.api.service import ServiceDep

router = APIRouter(tags=["health"])


@router.get("/livez", responses=problem_responses("model-not-ready"))
async def livez(service: ServiceDep) -> Health:
    """Whether the process works, or must be restarted."""
    if (await service.condition()).unrecoverable:
        raise Problem("model-not-ready", "The engine has stopped; only a restart helps.")
    return Health(status="ok")


@router.get("/readyz", responses=problem_responses("model-not-ready", "draining"))
async def readyz(service: ServiceDep) -> Health:
    """Whether requests may be sent: the model is warm, and the service is not shutting down."""
    if not (await service.condition()).ready:
        raise service.unavailable()
    return Health(status="ok")


@router.get("/metrics", include_in_schema=False)
async def metrics(service: ServiceDep, request: Request) -> Response:
    """Prometheus text format; `name[]=` picks series, as with Prometheus' own client libraries."""
    names = request.query_params.getlist("name[]")
    return Response(await service.exposition(names), media_type=CONTENT_TYPE_LATEST)
