"""OpenTelemetry spans: one for each request, and one for each joint encoding, linked to the requests in it.

Own middleware, for FastAPI's and `opentelemetry-instrumentation-asgi` record paths and queries: what we keep out of the
logs must not leave through the traces. Importing this needs the extra `tracing`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.headers import joined
from app.api.middleware import POLLED


def provider_from(environment: Mapping[str, str]) -> TracerProvider:
    """Sends spans where the standard OTEL_ variables say, most of which the SDK reads itself."""
    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "xray-report"}))
    to_console = environment.get("OTEL_TRACES_EXPORTER") == "console"
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter() if to_console else OTLPSpanExporter()))
    return provider


class Tracing:
    """Makes the spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self.tracer = provider.get_tracer("xray_report")

    def encoded(self, tags: Sequence[object], seconds: float) -> None:
        """A joint encoding that ends now; `tags` are its requests' log contexts, as `TracingMiddleware` left them."""
        links = [
            Link(SpanContext(int(tag["trace_id"], 16), int(tag["parent_span_id"], 16), False, _SAMPLED))
            for tag in tags
            if isinstance(tag, Mapping) and "parent_span_id" in tag
        ]
        if links:
            now = time.time_ns()
            span = self.tracer.start_span("encode", links=links, start_time=now - int(seconds * 1e9))
            span.set_attribute("xray_report.studies", len(tags))
            span.end(now)


_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class TracingMiddleware:
    """A span around each request, in the trace its `traceparent` names.

    Further in, the request's `traceparent` names this span, as it would behind a proxy.
    """

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self.app = app
        self._tracer = tracing.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; what is not HTTP, or polled by a machine, passes through."""
        if scope["type"] != "http" or scope["path"] in POLLED:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = propagate.extract({name: joined(headers, name) for name in headers})
        span = self._tracer.start_span(scope["method"], given, SpanKind.SERVER)
        inner = {**scope, "headers": list(scope["headers"])}
        TraceContextTextMapPropagator().inject(MutableHeaders(scope=inner), set_span_in_context(span))
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(inner, receive, answer)
        finally:
            _describe(span, inner, status)
            span.end()


def _describe(span: Span, scope: Scope, status: int) -> None:
    """By the route, never by the path, which may hold anything."""
    route = getattr(scope.get("route"), "path", "unmatched")
    span.update_name(f"{scope['method']} {route}")
    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if problem := scope.get("problem"):
        span.set_attribute("error.type", problem)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
