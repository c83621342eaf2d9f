"""/: what is here, as a few lines of text."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.report import DISCLAIMER

router = APIRouter(include_in_schema=False)

_TEXT = f"""\
xray-report drafts the report of a chest X-ray study. {DISCLAIMER}

POST /v1/report     the report of one study, its images sent as multipart/form-data or one as the body
GET  /v1/model      what is served, its default options and every limit
GET  /livez         whether the process works
GET  /readyz        whether requests may be sent
GET  /metrics       for Prometheus
GET  /docs          all of this to read and to try out
GET  /openapi.json  the same for programs
"""


@router.get("/")
async def root() -> Response:
    """The routes, and what the service is for."""
    return Response(_TEXT, media_type="text/plain")
