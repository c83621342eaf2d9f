"""How many replicas Ray Serve should run, by what their engines have to do.

Serve sends a policy's module to its controller by value: it imports nothing of ours.
"""

from __future__ import annotations

import math
from typing import Any

# The names of `app/telemetry.py`, without the prefix.
QUEUE_DEPTH, ACTIVE_ROWS = "queue_depth", "active_rows"


class EngineLoad:
    """Replicas for so many waiting studies and so many beams on the device, each of them; the greater number counts.

    As Kubernetes' autoscalers take a target for an average. Bounds, delays and factors are Serve's own settings.
    """

    def __init__(self, queue_depth: float = 4, active_rows: float = 48) -> None:
        """What one replica is to have: waiting studies, and beams on the device (of `XRAY_REPORT_MAX_ROWS`)."""
        self._targets = {QUEUE_DEPTH: queue_depth, ACTIVE_ROWS: active_rows}

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number for Serve's `AutoscalingContext`, whose metrics are averages over its look-back period."""
        measured: dict[str, dict[Any, float]] = context.aggregated_metrics or {}
        if not measured.get(QUEUE_DEPTH):  # no replica has said anything yet
            return context.target_num_replicas, {}
        totals = {name: sum(measured.get(name, {}).values()) for name in self._targets}
        totals[QUEUE_DEPTH] += context.total_queued_requests or 0.0  # in front of replicas that take no more
        return max(1, *(math.ceil(totals[name] / target) for name, target in self._targets.items())), {}
