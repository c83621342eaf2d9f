"""/docs: Swagger UI from its package on this machine, on a page that loads and runs nothing from anywhere else."""

from __future__ import annotations

from importlib.resources import files
from typing import Literal

from fastapi import APIRouter, Response

router = APIRouter(prefix="/docs", include_in_schema=False)

_ASSETS = files("fastapi_swagger") / "resources"
_MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "png": "image/png"}
# Swagger UI sets style attributes and draws its icons from data: URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>xray-report API</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", validatorUrl: null});\n'


@router.get("")
async def page() -> Response:
    """The page; its policy forbids inline scripts and other hosts."""
    return Response(_PAGE, media_type="text/html", headers={"Content-Security-Policy": _POLICY})


@router.get("/start.js")
async def start() -> Response:
    """What the page runs."""
    return Response(_START, media_type="text/javascript")


@router.get("/{name}")
async def asset(name: Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"]) -> Response:
    """A file of Swagger UI."""
    media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
    return Response((_ASSETS / name).read_bytes(), media_type=media_type, headers={"Cache-Control": "max-age=86400"})
