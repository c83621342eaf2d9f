"""Metrics for Prometheus and logs of one JSON object a line. Neither ever holds a file name, pixels or report text."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from operator import add

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.samples import Sample

# What every log line of the request at hand carries: request_id, trace_id.
request_context: ContextVar[Mapping[str, str]] = ContextVar("request_context", default={})  # noqa: B039  # read-only

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)
_SCORES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
_RECORD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}


class Metrics:
    """The service's metrics on a registry of its own. It is the engine's `Observer`, too."""

    def __init__(self, encoded: Callable[[list[object], float], None] | None = None) -> None:
        """`encoded` is told who was encoded together, as the engine tells it."""
        self._encoded = encoded
        self.registry = registry = CollectorRegistry()
        prefix = "xray_report"
        ProcessCollector(registry=registry)
        self.requests = Counter(
            f"{prefix}_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            f"{prefix}_http_request_duration_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.rejected = Counter(
            f"{prefix}_rejected", "Requests refused, by problem type.", ["reason"], registry=registry
        )
        self.model = Info(f"{prefix}_model", "The checkpoint served.", registry=registry)
        self._stage_seconds = Histogram(
            f"{prefix}_stage_duration_seconds", "Time in each stage.", ["stage"], buckets=_SECONDS, registry=registry
        )
        self._queue_depth = Gauge(f"{prefix}_queue_depth", "Studies waiting for the device.", registry=registry)
        self._queue_wait = Histogram(
            f"{prefix}_queue_wait_seconds", "Time a study waited for rows.", buckets=_SECONDS, registry=registry
        )
        self._active_rows = Gauge(f"{prefix}_active_rows", "Beams on the device.", registry=registry)
        self._batch_rows = Histogram(
            f"{prefix}_batch_rows", "Beams advanced together in one step.", buckets=_ROWS, registry=registry
        )
        self._tokens = Counter(f"{prefix}_generated_tokens", "Tokens of finished reports.", registry=registry)
        self._studies = Counter(
            f"{prefix}_studies", "Studies reported on.", ["abnormal", "operating_point"], registry=registry
        )
        self._findings_present = Counter(
            f"{prefix}_findings_present",
            "Findings called present.",
            ["finding", "operating_point"],
            registry=registry,
        )
        self._ood_score = Histogram(
            f"{prefix}_ood_score",
            "How much an image looks like a chest X-ray.",
            ["outcome"],
            buckets=_SCORES,
            registry=registry,
        )

    def expect(self, findings: Sequence[str], operating_points: Iterable[str]) -> None:
        """Counts from 0 what may be seen: where a series begins with its first count, Prometheus sees no rise."""
        for point in operating_points:
            for abnormal in (True, False):
                self._studies.labels(_word(abnormal), point)
            for name in findings:
                self._findings_present.labels(name, point)

    def reported(self, abnormal: bool, present: Iterable[str], operating_point: str) -> None:
        """A study was called abnormal or not, and these findings present in it."""
        self._studies.labels(_word(abnormal), operating_point).inc()
        for name in present:
            self._findings_present.labels(name, operating_point).inc()

    def ood_scored(self, score: float, outcome: str) -> None:
        """An image looks like a chest X-ray by so much, and that became of it."""
        self._ood_score.labels(outcome).observe(score)

    def queued(self, depth: int) -> None:
        """`depth` studies wait."""
        self._queue_depth.set(depth)

    def admitted(self, wait_seconds: float) -> None:
        """A study got its rows after `wait_seconds`."""
        self._queue_wait.observe(wait_seconds)

    def step(self, rows: int) -> None:
        """`rows` beams were advanced by one token."""
        self._batch_rows.observe(rows)

    def active(self, rows: int) -> None:
        """`rows` beams are on the device."""
        self._active_rows.set(rows)

    def generated(self, tokens: int) -> None:
        """A report of `tokens` tokens is done."""
        self._tokens.inc(tokens)

    def stage(self, name: str, seconds: float) -> None:
        """A study, or a step of the engine, spent `seconds` in stage `name`."""
        self._stage_seconds.labels(name).observe(seconds)

    def encoded(self, tags: list[object], seconds: float) -> None:
        """Studies submitted with these tags were encoded together in `seconds`."""
        if self._encoded is not None:
            self._encoded(tags, seconds)

    def snapshot(self) -> list[Metric]:
        """All series as they are now."""
        return list(self.registry.collect())

    def exposition(self, names: Sequence[str] = ()) -> bytes:
        """Prometheus text format 0.0.4, of the series of these names alone if any are given."""
        return _exposition(self.registry, names)


def exposition_of(snapshots: Iterable[Iterable[Metric]], names: Sequence[str] = ()) -> bytes:
    """As `Metrics.exposition`, of several processes together."""
    registry = CollectorRegistry(auto_describe=True)
    registry.register(_Taken(summed(snapshots)))
    return _exposition(registry, names)


class _Taken:
    """A collector of what was collected already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def summed(snapshots: Iterable[Iterable[Metric]]) -> list[Metric]:
    """The series of several processes as one's: sums, the earliest of times, and of a description one."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in (family for snapshot in snapshots for family in snapshot):
        families.setdefault(family.name, family)
        found = values.setdefault(family.name, {})
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            found[key] = _together(sample.name)(found[key], sample.value) if key in found else sample.value
    joined = []
    for name, family in families.items():
        one = Metric(name, family.documentation, family.type, family.unit)
        one.samples = [Sample(series, dict(labels), value) for (series, labels), value in values[name].items()]
        joined.append(one)
    return joined


def _together(series: str) -> Callable[[float, float], float]:
    if series.endswith(("_created", "_start_time_seconds")):
        return min
    return max if series.endswith("_info") else add


def _exposition(registry: CollectorRegistry, names: Sequence[str]) -> bytes:
    return generate_latest(registry.restricted_registry(names) if names else registry)


def _word(value: bool) -> str:
    return str(value).lower()


class JsonFormatter(logging.Formatter):
    """One JSON object a record: the message, what was passed as `extra`, and the request it belongs to.

    Of an exception it keeps the type and where it was raised, never its message, which may quote what was sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().rstrip(),
            **request_context.get(),
        }
        # An underscore is what libraries mark with that note something on every record for themselves.
        entry |= {n: value for n, value in record.__dict__.items() if n not in _RECORD_FIELDS and n[0] != "_"}
        if record.exc_info and record.exc_info[0]:
            entry["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            entry["stack"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(entry, default=str)


def traces_wanted(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's standard variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if exporter := environment.get("OTEL_TRACES_EXPORTER"):
        return exporter != "none"
    return any(f"OTEL_EXPORTER_OTLP_{name}" in environment for name in ("ENDPOINT", "TRACES_ENDPOINT"))


def configure_logging(level: str) -> None:
    """Sends every logger's records of `level` and above to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What they say at lower levels we say ourselves, or it quotes what was sent.
    for name in ("uvicorn", "python_multipart", "PIL", "httpx", "httpcore", "pydicom", "pynetdicom", "highdicom"):
        logging.getLogger(name).setLevel(max(logging.ERROR, logging.getLogger().level))
