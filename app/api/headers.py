"""Header fields that come in several lines: of a list they are one list (RFC 9110, 5.3), of anything else nothing."""

from __future__ import annotations

from starlette.datastructures import Headers

NO_STORE = {"Cache-Control": "no-store"}
"""Of answers about somebody's health."""
MODEL_SHA256 = "X-Model-SHA256"
"""Names the checkpoint that a report is of, whatever its form: /v1/model says the same."""


def joined(headers: Headers, name: str) -> str:
    """A field that is a list, all of its lines together."""
    return ", ".join(headers.getlist(name))


def single(headers: Headers, name: str) -> str:
    """A field that is no list; "" where it is missing, or there are several of which none can be told to be meant."""
    lines = headers.getlist(name)
    return lines[0] if len(lines) == 1 else ""
