"""How many replicas there should be, by what their engines have to do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from app.server.autoscaling import ACTIVE_ROWS, QUEUE_DEPTH, EngineLoad
from app.telemetry import Metrics


@pytest.mark.parametrize(
    ("depths", "rows", "in_front", "replicas"),
    [
        ([0], [0], 0, 1),
        ([3.9], [10], 0, 1),
        ([4.1], [10], 0, 2),
        ([0], [49], 0, 2),  # the device is full though nobody waits
        ([0, 0], [20, 20], 0, 1),
        ([10, 2], [64, 40], 0, 3),
        ([4, 4], [64, 64], 12, 5),  # Serve holds back what its replicas do not take
    ],
)
def test_replicas(depths: list[float], rows: list[float], in_front: float, replicas: int) -> None:
    """The totals over the targets of one replica, rounded up; the greater of the two counts, and one is the least."""
    measured = {QUEUE_DEPTH: dict(enumerate(depths)), ACTIVE_ROWS: dict(enumerate(rows))}
    context = SimpleNamespace(aggregated_metrics=measured, total_queued_requests=in_front, target_num_replicas=7)
    assert EngineLoad(queue_depth=4, active_rows=48)(context) == (replicas, {})


@pytest.mark.parametrize("measured", [None, {}, {QUEUE_DEPTH: {}}])
def test_nothing_known(measured: object) -> None:
    """Replicas that have said nothing yet stay as many as they are."""
    context = SimpleNamespace(aggregated_metrics=measured, total_queued_requests=0, target_num_replicas=3)
    assert EngineLoad()(context) == (3, {})


def test_names() -> None:
    """The metrics are those that the service exposes."""
    names = {family.name for family in Metrics().registry.collect()}
    assert {f"xray_report_{name}" for name in (QUEUE_DEPTH, ACTIVE_ROWS)} <= names
