"""Routes that take files."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastapi import Request, Response
from fastapi.routing import APIRoute


class FileRoute(APIRoute):
    """A route whose endpoint takes the request, reads it by itself and makes the response: there are no parameters for
    FastAPI to look for, nor a result to convert."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint as it is."""
        return cast(Callable[[Request], Coroutine[Any, Any, Response]], self.endpoint)
