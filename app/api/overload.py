"""Turns report requests away while the service is full: before they are routed, and nothing of them is read.

Under overload this is what most requests get, and what the interpreter spends on them it takes from the engine.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.auth import let_in
from app.api.problems import Problem, problem_response
from app.api.service import Service


class OverloadMiddleware:
    """Answers 503 `overloaded` in place of the route of reports, to who would be let in by key and rate."""

    def __init__(self, app: ASGIApp, service: Service, path: str, route: BaseRoute) -> None:
        self.app = app
        self.service = service
        self.path = path
        self.route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; passes anything but report requests through."""
        if scope["type"] != "http" or scope["path"] != self.path or scope["method"] != "POST" or not self.service.full:
            await self.app(scope, receive, send)
            return
        scope["route"] = self.route  # for the log and the metrics
        request = Request(scope)
        try:
            await let_in(request, self.service)
            problem = await self.service.overloaded()
        except Problem as error:
            problem = error
        await problem_response(request, problem)(scope, receive, send)
