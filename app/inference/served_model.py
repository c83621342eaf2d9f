"""What is served, for whoever answers requests. Nothing of torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask of this checkpoint."""

    max_views: int
    max_new_tokens: int
    max_rows: int
    max_queue: int
