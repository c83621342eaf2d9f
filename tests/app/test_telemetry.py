"""Metrics have the names dashboards are built on; log lines are JSON and keep silent about what was sent."""

from __future__ import annotations

import json
import logging
import sys

from app.telemetry import JsonFormatter, Metrics, exposition_of, request_context

NAMES = {
    "xray_report_http_requests_total",
    "xray_report_http_request_duration_seconds_count",
    "xray_report_stage_duration_seconds_count",
    "xray_report_queue_depth",
    "xray_report_queue_wait_seconds_count",
    "xray_report_active_rows",
    "xray_report_batch_rows_count",
    "xray_report_rejected_total",
    "xray_report_generated_tokens_total",
    "xray_report_studies_total",
    "xray_report_findings_present_total",
    "xray_report_ood_score_count",
    "xray_report_model_info",
}


def filled() -> Metrics:
    metrics = Metrics()
    metrics.requests.labels("POST", "/v1/report", 200).inc()
    metrics.request_seconds.labels("/v1/report").observe(0.1)
    metrics.rejected.labels("overloaded").inc()
    metrics.model.info({"name": "tiny"})
    metrics.queued(3)
    metrics.admitted(0.1)
    metrics.step(6)
    metrics.active(6)
    metrics.generated(41)
    metrics.stage("decode", 0.02)
    metrics.expect(["edema", "nodule"], ["balanced"])
    metrics.reported(True, ["nodule"], "balanced")
    metrics.ood_scored(0.4, "refused")
    return metrics


def test_names() -> None:
    """Every metric of the contract is exposed under its name."""
    lines = filled().exposition().decode().splitlines()
    exposed = {line.split("{")[0].split()[0] for line in lines if not line.startswith("#")}
    assert exposed >= NAMES


def test_labels() -> None:
    """Labels are those of the contract."""
    text = filled().exposition().decode()
    assert 'xray_report_http_requests_total{method="POST",route="/v1/report",status="200"} 1.0' in text
    assert 'xray_report_stage_duration_seconds_count{stage="decode"} 1.0' in text
    assert 'xray_report_rejected_total{reason="overloaded"} 1.0' in text
    assert 'xray_report_studies_total{abnormal="true",operating_point="balanced"} 1.0' in text
    assert 'xray_report_studies_total{abnormal="false",operating_point="balanced"} 0.0' in text
    assert 'xray_report_findings_present_total{finding="nodule",operating_point="balanced"} 1.0' in text
    assert 'xray_report_findings_present_total{finding="edema",operating_point="balanced"} 0.0' in text
    assert 'xray_report_ood_score_bucket{le="0.25",outcome="refused"} 0.0' in text
    assert 'xray_report_ood_score_bucket{le="0.5",outcome="refused"} 1.0' in text


def test_registries_are_apart() -> None:
    """Two applications in one process do not share counters."""
    filled()
    assert b'status="200"' not in Metrics().exposition()


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "app", "levelno": logging.INFO, "levelname": "INFO", "msg": message})
    made.__dict__.update(extra)
    return made


def test_log_line_is_one_json_object() -> None:
    """A record is one line: message, extras but those that libraries keep for themselves, and its request."""
    token = request_context.set({"request_id": "abc"})
    try:
        line = JsonFormatter().format(record("two\nlines", status=200, _theirs=1))
    finally:
        request_context.reset(token)
    assert "\n" not in line
    entry = json.loads(line)
    assert entry | {"time": ""} == {
        "time": "",
        "level": "info",
        "logger": "app",
        "message": "two\nlines",
        "request_id": "abc",
        "status": 200,
    }


def test_exceptions_are_logged_without_their_message() -> None:
    """An exception's message may quote a file; its type and place do not."""
    try:
        int("JOHN_DOE.dcm")
    except ValueError:
        entry = json.loads(JsonFormatter().format(record("failed", exc_info=sys.exc_info())))
    assert entry["error"] == "ValueError"
    assert "test_telemetry.py" in entry["stack"][0]
    assert "JOHN_DOE" not in json.dumps(entry)


def test_several_processes() -> None:
    """Their counts are summed, what describes them is there once, and names pick series as they do of one."""
    parts = [filled(), filled(), Metrics()]
    parts[1].model.info({"name": "tiny"})
    parts[1].rejected.labels("draining").inc()
    snapshots = [part.snapshot() for part in parts]
    text = exposition_of(snapshots).decode()
    assert 'xray_report_http_requests_total{method="POST",route="/v1/report",status="200"} 2.0' in text
    assert 'xray_report_stage_duration_seconds_bucket{le="0.025",stage="decode"} 2.0' in text
    assert 'xray_report_rejected_total{reason="draining"} 1.0' in text
    assert 'xray_report_model_info{name="tiny"} 1.0' in text
    assert "xray_report_generated_tokens_total 82.0" in text
    created = "xray_report_generated_tokens_created"
    (written,) = (line for line in text.splitlines() if line.startswith(created))
    assert float(written.split()[1]) == parts[0].registry.get_sample_value(created)
    alone = exposition_of(snapshots, ["xray_report_active_rows"]).decode().splitlines()
    assert [line for line in alone if not line.startswith("#")] == ["xray_report_active_rows 12.0"]
    one = exposition_of([parts[0].snapshot()]).decode()
    ours = [line for line in parts[0].exposition().decode().splitlines() if line.startswith("xray_report")]
    assert set(ours) <= set(one.splitlines())
