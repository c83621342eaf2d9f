"""What became of the studies, for Prometheus. No label holds anything of a study."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

OUTCOMES = ("reported", "already_reported", "refused", "no_images", "failed")
RECEIVED = ("stored", "refused", "out_of_resources", "not_understood")


class PacsMetrics:
    """On a registry of its own; every series begins at 0."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        prefix = "xray_report_pacs"
        ProcessCollector(registry=registry)
        self._studies = Counter(
            f"{prefix}_studies", "Studies handled, by what became of them.", ["outcome"], registry=registry
        )
        self._objects = Counter(f"{prefix}_objects_stored", "SRs and PDFs stored.", ["kind"], registry=registry)
        self._away = Counter(
            f"{prefix}_away", "Times that the service or the PACS was away.", ["who"], registry=registry
        )
        self._received = Counter(
            f"{prefix}_received", "Objects sent to us by C-STORE, by answer.", ["outcome"], registry=registry
        )
        self.waiting = Gauge(
            f"{prefix}_waiting", "Studies found in the PACS and not dealt with yet.", registry=registry
        )
        self.received_waiting = Gauge(f"{prefix}_received_waiting", "Received studies on disk.", registry=registry)
        self.received_bytes = Gauge(f"{prefix}_received_bytes", "Bytes of received studies on disk.", registry=registry)
        self.last_round = Gauge(
            f"{prefix}_last_round_timestamp_seconds", "When the last round went through.", registry=registry
        )
        for outcome in OUTCOMES:
            self._studies.labels(outcome)
        for kind in ("sr", "pdf"):
            self._objects.labels(kind)
        for who in ("service", "pacs"):
            self._away.labels(who)
        for outcome in RECEIVED:
            self._received.labels(outcome)

    def study(self, outcome: str) -> None:
        """A study came to one of `OUTCOMES`."""
        self._studies.labels(outcome).inc()

    def stored(self, kind: str) -> None:
        """An SR or a PDF is in the PACS."""
        self._objects.labels(kind).inc()

    def away(self, who: str) -> None:
        """The service or the PACS could not be had."""
        self._away.labels(who).inc()

    def received(self, outcome: str) -> None:
        """An object sent to us came to one of `RECEIVED`."""
        self._received.labels(outcome).inc()
