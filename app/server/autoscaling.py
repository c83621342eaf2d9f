"""How many replicas Ray Serve should run, by what their engines have to do.

Serve sends a policy's module to its controller by value: it imports nothing of ours.
"""

from __future__ import annotations

import math
from typing import Any

# The first two are names of `app/telemetry.py`, without the prefix.
QUEUE_DEPTH, ACTIVE_ROWS, PROCESSOR = "queue_depth", "active_rows", "processor"

# What one replica is to have, wherever replicas come and go by themselves: waiting studies; beams on the device, of
# `XRAY_REPORT_MAX_ROWS`; the share of its processors' time that is used, for studies that wait to be decoded are in
# neither of the others.
TARGETS = {QUEUE_DEPTH: 4.0, ACTIVE_ROWS: 40.0, PROCESSOR: 0.7}


class EngineLoad:
    """Replicas for so many waiting studies, so many beams and so much processor time, each; the greatest number counts.

    As Kubernetes' autoscalers take a target for an average. Bounds, delays and factors are Serve's own settings.
    """

    def __init__(self, **targets: float) -> None:
        """Targets other than `TARGETS`, by their names. Raises `ValueError` for one that is not among them."""
        if unknown := targets.keys() - TARGETS.keys():
            raise ValueError(f"no targets: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
        self._targets = TARGETS | targets

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number for Serve's `AutoscalingContext`, whose metrics are averages over its look-back period."""
        measured: dict[str, dict[Any, float]] = context.aggregated_metrics or {}
        if not measured.get(QUEUE_DEPTH):  # no replica has said anything yet
            return context.target_num_replicas, {}
        totals = {name: sum(measured.get(name, {}).values()) for name in self._targets}
        totals[QUEUE_DEPTH] += context.total_queued_requests or 0.0  # in front of replicas that take no more
        return max(1, *(math.ceil(totals[name] / target) for name, target in self._targets.items())), {}
