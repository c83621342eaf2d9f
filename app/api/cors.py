"""Pages of other origins may call the service where a setting names them: the protocol is Starlette's."""

from __future__ import annotations

from collections.abc import Collection

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from app.api.headers import MODEL_SHA256
from app.api.problems import MEDIA_TYPE, Problem, problem_document


class CorsMiddleware(CORSMiddleware):
    """Starlette's, for what this service takes and answers. Keys are sent by the page: cookies are never asked for."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("Authorization", "X-Request-ID", "traceparent", "tracestate"),
            expose_headers=("X-Request-ID", "Retry-After", MODEL_SHA256),
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """What a page may send; a problem document where it may not."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        problem = Problem("malformed-request", "A page of this origin may not send this method or these headers.")
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return JSONResponse(problem_document(problem, "/"), problem.status, headers, MEDIA_TYPE)
