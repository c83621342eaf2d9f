"""How many replicas there should be, by what their engines have to do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from app.server.autoscaling import ACTIVE_ROWS, PROCESSOR, QUEUE_DEPTH, TARGETS, EngineLoad
from app.telemetry import Metrics


@pytest.mark.parametrize(
    ("depths", "rows", "processors", "in_front", "replicas"),
    [
        ([0], [0], [0], 0, 1),
        ([3.9], [10], [0.5], 0, 1),
        ([4.1], [10], [0.5], 0, 2),
        ([0], [49], [0.5], 0, 2),  # the device is full though nobody waits
        ([0, 0], [20, 20], [0.4, 0.2], 0, 1),
        ([0, 0], [3, 2], [1.0, 0.9], 0, 3),  # decoding is the most of the work
        ([10, 2], [64, 40], [0.9, 0.9], 0, 3),
        ([4, 4], [64, 64], [0.9, 0.9], 12, 5),  # Serve holds back what its replicas do not take
    ],
)
def test_replicas(
    depths: list[float], rows: list[float], processors: list[float], in_front: float, replicas: int
) -> None:
    """The totals over the targets of one replica, rounded up; the greatest counts, and one is the least."""
    measured = {
        name: dict(enumerate(of_each))
        for name, of_each in ((QUEUE_DEPTH, depths), (ACTIVE_ROWS, rows), (PROCESSOR, processors))
    }
    context = SimpleNamespace(aggregated_metrics=measured, total_queued_requests=in_front, target_num_replicas=7)
    assert EngineLoad(queue_depth=4, active_rows=48, processor=0.7)(context) == (replicas, {})


@pytest.mark.parametrize("measured", [None, {}, {QUEUE_DEPTH: {}}])
def test_nothing_known(measured: object) -> None:
    """Replicas that have said nothing yet stay as many as they are."""
    context = SimpleNamespace(aggregated_metrics=measured, total_queued_requests=0, target_num_replicas=3)
    assert EngineLoad()(context) == (3, {})


def test_targets() -> None:
    """What is not said is as everywhere, and a name that is no target's is an error."""
    measured = {QUEUE_DEPTH: {0: 2 * TARGETS[QUEUE_DEPTH]}, ACTIVE_ROWS: {0: 0.0}, PROCESSOR: {0: 0.0}}
    context = SimpleNamespace(aggregated_metrics=measured, total_queued_requests=0)
    assert [EngineLoad(**given)(context)[0] for given in ({}, {ACTIVE_ROWS: 1.0}, {QUEUE_DEPTH: 1.0})] == [2, 2, 8]
    with pytest.raises(ValueError, match="rows"):
        EngineLoad(rows=4)


def test_names() -> None:
    """The metrics are those that the service exposes."""
    names = {family.name for family in Metrics().registry.collect()}
    assert {f"xray_report_{name}" for name in (QUEUE_DEPTH, ACTIVE_ROWS)} <= names
