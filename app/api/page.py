"""The page for people: files of `app/web`, which load and run nothing from anywhere else."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Response

from app.api.problems import Problem

router = APIRouter(prefix="/web", include_in_schema=False)

VARY = {"Vary": "Accept"}
_FOLDER = files("app") / "web"
_INDEX = "index.html"
_MEDIA_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
# Pictures are read from files and from answers and drawn on a canvas: no blob: nor data: is needed.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


def index() -> Response:
    """The page itself; its policy forbids inline scripts and styles, markup made by scripts, and other hosts."""
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache", **VARY}
    return Response(_files()[_INDEX], media_type="text/html", headers=headers)


@router.get("/{name}")
async def asset(name: str) -> Response:
    """A file that the page is made of."""
    content = _files().get(name)
    if content is None or name == _INDEX:
        raise Problem("not-found")
    media_type = _MEDIA_TYPES["." + name.rpartition(".")[2]]
    return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})


@cache
def _files() -> dict[str, bytes]:
    """Name to content: some 100 KB, read once."""
    known = (one for one in _FOLDER.iterdir() if "." + one.name.rpartition(".")[2] in _MEDIA_TYPES)
    return {one.name: one.read_bytes() for one in known}
