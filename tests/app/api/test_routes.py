"""Everything around the report: health, model, keys, ids, documentation, and errors of the frame."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.api.problems import TABLE
from app.api.service import Phase, Service
from app.inference.errors import CheckpointError
from app.main import create_app
from app.settings import SettingsError, load_settings
from tests.app.conftest import client_of, running

pytestmark = pytest.mark.anyio
QUICK = {"num_beams": 1, "max_new_tokens": 2}


async def test_health(client: httpx.AsyncClient) -> None:
    """A warm service is alive and ready."""
    for path in ("/livez", "/readyz"):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_security_headers(client: httpx.AsyncClient, picture: bytes) -> None:
    """Every answer, an error's as well, forbids a browser to guess types, embed it, or load anything for it."""
    for response in (
        await client.get("/livez"),
        await client.get("/nothing"),
        await client.post("/v1/report", files={"image": picture}, params=QUICK),
        await client.post("/v1/report", files={"image": b"no image"}),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "server" not in response.headers


async def test_before_it_is_warm(tiny_checkpoint: Path, picture: bytes) -> None:
    """Until the model is loaded and warm the service is alive, not ready, and reports nothing."""
    async with client_of(create_app(load_settings(checkpoint=tiny_checkpoint))) as client:
        assert (await client.get("/livez")).status_code == 200
        for response in (
            await client.get("/readyz"),
            await client.get("/v1/model"),
            await client.post("/v1/report", files={"image": picture}),
        ):
            assert (response.status_code, response.json()["type"]) == (503, "model-not-ready")
            assert "retry-after" in response.headers


async def test_draining(tiny_checkpoint: Path, picture: bytes) -> None:
    """While draining /readyz fails and reports are still made; once the engine has stopped they are refused."""
    async with running(tiny_checkpoint) as app, client_of(app) as client:
        service: Service = app.state.service
        service.drain()
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["type"]) == (503, "draining")
        assert (await client.get("/livez")).status_code == 200
        assert (await client.post("/v1/report", files={"image": picture})).status_code == 200
        assert service.generator
        service.generator.close(0)
        late = await client.post("/v1/report", files={"image": picture})
        assert (late.status_code, late.json()["type"]) == (503, "draining")


async def test_dead_engine(tiny_checkpoint: Path, picture: bytes) -> None:
    """A dead engine shows: not ready, not alive, no report."""
    async with running(tiny_checkpoint) as app, client_of(app) as client:
        app.state.service.generator.close(0)
        for response in (
            await client.get("/livez"),
            await client.get("/readyz"),
            await client.post("/v1/report", files={"image": picture}),
        ):
            assert (response.status_code, response.json()["type"]) == (503, "model-not-ready")


async def test_warm_up_fails(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that fails while warming up never becomes ready, and asks to be restarted."""

    def fail(_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("app.inference.generator.Generator.warm_up", fail)
    app = create_app(load_settings(checkpoint=tiny_checkpoint, device="cpu", decode_workers=1))
    async with app.router.lifespan_context(app), client_of(app) as client:
        while app.state.service.phase is Phase.STARTING:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
        assert app.state.service.phase is Phase.FAILED
        assert (await client.get("/livez")).status_code == 503
        assert (await client.get("/readyz")).status_code == 503


async def test_wrong_checkpoint(tiny_checkpoint: Path) -> None:
    """A checkpoint that is not the one pinned stops the start, saying what did not match."""
    app = create_app(load_settings(checkpoint=tiny_checkpoint, checkpoint_sha256="0" * 64))
    with pytest.raises(CheckpointError, match="SHA-256 does not match"):
        async with app.router.lifespan_context(app):
            pass


async def test_model(client: httpx.AsyncClient, tiny_sha256: str) -> None:
    """/v1/model says what is served, where, with which defaults and limits."""
    answer = (await client.get("/v1/model")).json()
    assert answer["sha256"] == tiny_sha256
    assert (answer["name"], answer["device"], answer["precision"]) == ("tiny", "cpu", "exact")
    assert answer["sections"] == ["findings", "impression"]
    assert answer["default_options"]["num_beams"] == 3
    assert answer["limits"]["max_images"] == 4
    assert answer["limits"]["max_new_tokens"] == 40
    assert answer["limits"]["max_pixels"] == 40_000_000


async def test_metrics(client: httpx.AsyncClient, picture: bytes) -> None:
    """/metrics counts what happened, by route and not by path."""
    await client.post("/v1/report", files={"image": picture})
    await client.post("/v1/report", files={"image": b"no image"})
    await client.get("/John")
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert 'xray_report_http_requests_total{method="POST",route="/v1/report",status="200"}' in response.text
    assert 'xray_report_http_requests_total{method="GET",route="unmatched",status="404"}' in response.text
    assert 'xray_report_rejected_total{reason="unsupported-media-type"}' in response.text
    for stage in ("decode", "encode", "generate"):
        assert f'xray_report_stage_duration_seconds_count{{stage="{stage}"}}' in response.text
    assert "John" not in response.text
    picked = (await client.get("/metrics", params={"name[]": "xray_report_active_rows"})).text
    assert [line for line in picked.splitlines() if not line.startswith("#")] == ["xray_report_active_rows 0.0"]


async def test_request_id(client: httpx.AsyncClient) -> None:
    """A harmless X-Request-ID is kept, any other replaced; errors carry it."""
    response = await client.get("/nothing", headers={"x-request-id": "study-42/a"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "study-42/a"
    for bad in ("x" * 129, "a b", "<script>", ""):
        made = (await client.get("/livez", headers={"x-request-id": bad})).headers["x-request-id"]
        assert made != bad
        assert len(made) == 32


async def test_log(client: httpx.AsyncClient, picture: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A request is one log line with its trace; no file name and no report text is in it."""
    from app.telemetry import JsonFormatter, request_context

    lines: list[dict[str, object]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonFormatter().format(record)))

    handler, logger = Keep(), logging.getLogger("app")
    logger.addHandler(handler)
    with caplog.at_level(logging.DEBUG, "app"):
        trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x-request-id": "r1"}
        response = await client.post("/v1/report", files={"image": ("JOHN_DOE.png", picture)}, headers=trace)
        await client.get("/livez", headers={"traceparent": "00-" + "0" * 32 + "-00f067aa0ba902b7-01"})
    logger.removeHandler(handler)
    report, live = (line for line in lines if line["message"] == "request")
    assert report["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (report["request_id"], report["route"], report["status"]) == ("r1", "/v1/report", 200)
    assert "trace_id" not in live
    assert live["level"] == "debug"
    written = json.dumps(lines)
    assert "JOHN_DOE" not in written
    assert response.json()["report"]["text"] not in written
    assert request_context.get() == {}


async def test_frame_errors(client: httpx.AsyncClient) -> None:
    """What the framework itself refuses is a problem document, too."""
    missing = await client.get("/nothing")
    wrong = await client.get("/v1/report")
    for response, status, type_ in ((missing, 404, "not-found"), (wrong, 405, "method-not-allowed")):
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        content = response.json()
        assert list(content) == ["type", "title", "status", "detail", "instance", "request_id"]
        assert (content["type"], content["status"]) == (type_, status)
    assert wrong.headers["allow"] == "POST"


async def test_api_keys(tiny_checkpoint: Path, picture: bytes) -> None:
    """With hashes configured, /v1 wants a key that has one of them; health and metrics do not."""
    hashes = ",".join(hashlib.sha256(key).hexdigest() for key in (b"first", b"second"))
    async with running(tiny_checkpoint, api_key_hashes=hashes) as app, client_of(app) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic first"}, {"authorization": ""}):
            for response in (
                await client.get("/v1/model", headers=headers),
                await client.post("/v1/report", files={"image": picture}, headers=headers),
            ):
                assert (response.status_code, response.json()["type"]) == (401, "unauthorized")
                assert response.headers["www-authenticate"] == "Bearer"
        for key in ("first", "second"):
            answer = await client.get("/v1/model", headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200


async def test_documentation(app: FastAPI, client: httpx.AsyncClient) -> None:
    """The OpenAPI document names every option, body, and problem of the report."""
    document = (await client.get("/openapi.json")).json()
    report = document["paths"]["/v1/report"]["post"]
    assert {parameter["name"] for parameter in report["parameters"]} >= {"num_beams", "length_penalty", "sections"}
    assert set(report["requestBody"]["content"]) == {
        "multipart/form-data",
        "image/png",
        "image/jpeg",
        "application/dicom",
        "application/octet-stream",
    }
    assert set(report["responses"]["200"]["content"]) == {
        "application/json",
        "text/plain",
        "application/pdf",
        "application/fhir+json",
        "application/dicom",
    }
    documented = {status for status in report["responses"] if status != "200"}
    assert documented == {"400", "401", "404", "406", "408", "413", "415", "422", "429", "500", "502", "503", "504"}
    assert list(report["responses"]["422"]["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in json.dumps(document)


async def test_docs_need_no_other_host(client: httpx.AsyncClient) -> None:
    """All that /docs loads comes from here, and its policy lets it load and run nothing else."""
    page = await client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "http" not in page.text
    assert "<script>" not in page.text
    assert "unsafe" not in page.headers["content-security-policy"]
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    for path in re.findall('(?:src|href)="([^"]+)"', page.text):
        asset = await client.get(f"/{path}")
        assert asset.status_code == 200, path
        assert asset.headers["content-type"].partition(";")[0] in ("text/javascript", "text/css", "image/png")
    missing = await client.get("/docs/nothing.js")
    assert (missing.status_code, missing.json()["type"]) == (404, "not-found")


async def test_forwarded_addresses(tiny_checkpoint: Path) -> None:
    """A typing error among the trusted proxies is an error at start."""
    networks = load_settings(checkpoint=tiny_checkpoint, trusted_proxies="10.0.0.0/8, ::1").trusted_proxies
    assert networks == ("10.0.0.0/8", "::1/128")
    with pytest.raises(SettingsError, match=r"^XRAY_REPORT_TRUSTED_PROXIES: "):
        load_settings(checkpoint=tiny_checkpoint, trusted_proxies="proxy.example")


def test_table_of_problems() -> None:
    """Every type has a client or server status."""
    assert all(400 <= status < 600 for status, _ in TABLE.values())
