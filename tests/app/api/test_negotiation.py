"""Accept headers, by RFC 9110."""

from __future__ import annotations

import pytest

from app.api.negotiation import negotiate

JSON, TEXT = OFFERS = ("application/json", "text/plain")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/*", TEXT),
        ("text/plain", TEXT),
        ("TEXT/PLAIN; charset=utf-8", TEXT),
        ("text/plain, application/json", JSON),
        ("text/plain, application/json;q=0.5", TEXT),
        ("text/plain;q=0.5, */*;q=0.1", TEXT),
        ("application/json;q=0, */*", TEXT),
        ("application/json;q=0", None),
        ("image/png", None),
        ("application/json;q=wrong", None),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        (",;,", None),
    ],
)
def test_negotiate(accept: str, chosen: str | None) -> None:
    """The best-liked offer wins, the more specific range speaks, and nothing liked is None."""
    assert negotiate(accept, OFFERS) == chosen
