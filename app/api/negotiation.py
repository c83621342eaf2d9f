"""Content negotiation by RFC 9110, section 12.5.1."""

from __future__ import annotations

from collections.abc import Sequence


def negotiate(accept: str, offers: Sequence[str]) -> str | None:
    """The offer the Accept header likes best, earlier ones winning ties; None when it likes none."""
    ranges = [_parse(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    best = max(offers, key=lambda offer: _quality(offer, ranges))
    return best if _quality(best, ranges) > 0 else None


def _parse(part: str) -> tuple[str, float]:
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = min(1.0, max(0.0, float(value)))
            except ValueError:
                quality = 0.0
    return media_range, quality


def _quality(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    """By the most specific range that names the offer."""
    by_range = dict(ranges)
    for media_range in (offer, offer.partition("/")[0] + "/*", "*/*"):
        if media_range in by_range:
            return by_range[media_range]
    return 0.0
