"""/: the page for who asks for HTML, as browsers do; for anybody else what is here, as a few lines of text."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api import page
from app.api.headers import joined
from app.api.negotiation import negotiate
from app.report import DISCLAIMER

router = APIRouter(include_in_schema=False)

_PLAIN, _HTML = "text/plain", "text/html"
_TEXT = f"""\
xray-report drafts the report of a chest X-ray study. {DISCLAIMER}

POST /v1/report     the report of one study, its images sent as multipart/form-data or one as the body
POST /v1/preview    one image file as a PNG to look at
GET  /v1/model      what is served, its default options and every limit
GET  /livez         whether the process works
GET  /readyz        whether requests may be sent
GET  /metrics       for Prometheus
GET  /docs          all of this to read and to try out
GET  /openapi.json  the same for programs
"""


@router.get("/")
async def root(request: Request) -> Response:
    """The page, or the routes and what the service is for."""
    if negotiate(joined(request.headers, "accept"), (_PLAIN, _HTML)) == _HTML:
        return page.index()
    return Response(_TEXT, media_type=_PLAIN, headers=page.VARY)
