"""/docs: Swagger UI from its package on this machine, on a page that loads and runs nothing from anywhere else."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response

from app.api.problems import Problem

router = APIRouter(prefix="/docs", include_in_schema=False)

_ASSETS = files("fastapi_swagger") / "resources"
_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
# Swagger UI draws its icons from data: URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
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
async def asset(name: str) -> Response:
    """A file of Swagger UI."""
    if name not in _MEDIA_TYPES:
        raise Problem("not-found")
    headers = {"Cache-Control": "max-age=86400"}
    return Response((_ASSETS / name).read_bytes(), media_type=_MEDIA_TYPES[name], headers=headers)
