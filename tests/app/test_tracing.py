"""Traces: a span a request in the client's trace, one span a joint encoding, and nothing at all unless asked for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import load_settings
from app.telemetry import traces_wanted
from tests.app.conftest import client_of, running

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra tracing is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.tracing import Tracing, provider_from

ROOT = Path(__file__).parents[2]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(scope="module")
async def traced(tiny_checkpoint: Path, exporter: InMemorySpanExporter, anyio_backend: str) -> AsyncIterator[FastAPI]:
    """An application whose spans arrive in `exporter`."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with running(tiny_checkpoint, tracing=Tracing(provider)) as app:
        exporter.clear()
        yield app


@pytest.fixture
async def client(traced: FastAPI, exporter: InMemorySpanExporter) -> AsyncIterator[httpx.AsyncClient]:
    exporter.clear()
    async with client_of(traced) as client:
        yield client


def spans(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


async def test_request(client: httpx.AsyncClient, exporter: InMemorySpanExporter, picture: bytes) -> None:
    """A request's span is in the trace its traceparent names and says route, method and status."""
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    assert (await client.post("/v1/report", files={"image": picture}, headers=headers)).status_code == 200
    (span,) = spans(exporter, "POST /v1/report")
    assert span.context
    assert span.parent
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/report",
        "http.response.status_code": 200,
    }


async def test_two_parents(client: httpx.AsyncClient, exporter: InMemorySpanExporter) -> None:
    """Two traceparents name no trace: the span begins one of its own (Trace Context, 3.2)."""
    headers = [("traceparent", f"00-{TRACE}-{PARENT}-01"), ("traceparent", f"00-{TRACE[::-1]}-{PARENT}-01")]
    assert (await client.get("/v1/model", headers=headers)).status_code == 200
    (span,) = spans(exporter, "GET /v1/model")
    assert span.context
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" not in (TRACE, TRACE[::-1])


async def test_tracestate_in_two_lines(client: httpx.AsyncClient, exporter: InMemorySpanExporter) -> None:
    """Several tracestate lines are one list."""
    headers = [("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "a=1"), ("tracestate", "b=2")]
    await client.get("/v1/model", headers=headers)
    (span,) = spans(exporter, "GET /v1/model")
    assert span.parent
    assert dict(span.parent.trace_state) == {"a": "1", "b": "2"}


async def test_encodings(
    traced: FastAPI, client: httpx.AsyncClient, exporter: InMemorySpanExporter, picture: bytes
) -> None:
    """Studies encoded together share a span that is linked to the request of each."""
    traced.state.service.generator._encoder.max_images = 8  # however few threads there are
    for _ in range(10):  # a machine that decodes slowly encodes each as it comes
        answers = [client.post("/v1/report", files={"image": picture}) for _ in range(8)]
        assert {answer.status_code for answer in await asyncio.gather(*answers)} == {200}
        batches = spans(exporter, "encode")
        if any(len(batch.links) > 1 for batch in batches):
            break
    assert any(len(batch.links) > 1 for batch in batches)
    linked = [link.context.span_id for batch in batches for link in batch.links]
    requests = [span.context.span_id for span in spans(exporter, "POST /v1/report") if span.context]
    assert sorted(linked) == sorted(requests)
    for batch in batches:
        assert batch.start_time
        assert batch.end_time
        assert batch.end_time > batch.start_time
        assert batch.attributes
        assert batch.attributes["xray_report.studies"] == len(batch.links)


async def test_silence(client: httpx.AsyncClient, exporter: InMemorySpanExporter) -> None:
    """Neither paths nor queries nor file names reach a trace; what machines poll makes no span."""
    await client.get("/JANE_DOE?name=JANE_DOE")
    answer = await client.post("/v1/report?DOE=1", files={"image": ("JANE_DOE.png", b"no image")})
    await client.get("/readyz")
    finished = exporter.get_finished_spans()
    assert [span.name for span in finished] == ["GET unmatched", "POST /v1/report"]
    assert "DOE" not in "".join(span.to_json() for span in finished)
    assert finished[1].attributes
    assert finished[1].attributes["error.type"] == answer.json()["type"]


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_standard_variables(environment: dict[str, str], wanted: bool) -> None:
    """The standard variables, and nothing else, turn traces on."""
    assert traces_wanted(environment) is wanted


def test_nothing_is_imported_unless_wanted(tiny_checkpoint: Path) -> None:
    """Without those variables neither our spans nor OpenTelemetry's SDK are loaded; FastAPI loads the API itself."""
    code = (
        "import sys, app.main; app.main.create_app(); "
        "print([m for m in sys.modules if m.startswith(('app.tracing', 'opentelemetry.sdk'))])"
    )
    done = subprocess.run(  # noqa: S603  # our own
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
        env={"PATH": "", "XRAY_REPORT_CHECKPOINT": str(tiny_checkpoint)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_extra_is_missing(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Traces that are asked for and cannot be had are one warning, and the service works."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setitem(sys.modules, "app.tracing", None)
    create_app(load_settings(checkpoint=tiny_checkpoint))
    assert "xray-report[tracing]" in caplog.text


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """Its address, and the bodies it was sent."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
        server.shutdown()
        thread.join()


def test_export(collector: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans reach the collector the variables name, under the service's name."""
    address, received = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none")
    provider = provider_from({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": address})
    Tracing(provider).tracer.start_span("probe").end()
    provider.shutdown()
    assert b"probe" in b"".join(received)
    assert b"xray-report" in b"".join(received)
