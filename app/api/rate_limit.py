"""A bound on the requests of one client: a token bucket, kept as one number a client.

The generic cell rate algorithm (ITU-T I.371): instead of a bucket's level, the time at which it will be full again.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict

MAX_CLIENTS = 10_000


class RateLimiter:
    """`per_minute` requests a client on average, up to `burst` at once. Used on the event loop's thread only."""

    def __init__(self, per_minute: float, burst: int) -> None:
        self._interval = 60.0 / per_minute
        self._tolerance = self._interval * (burst - 1)
        self._full_at: OrderedDict[str, float] = OrderedDict()  # the least recently seen first

    def take(self, client: str) -> float:
        """0 when the client may go ahead, else the seconds it has to wait."""
        now = time.monotonic()
        full_at = max(now, self._full_at.get(client, now))
        wait = full_at - now - self._tolerance
        if wait > 0:
            return wait
        self._full_at[client] = full_at + self._interval
        self._full_at.move_to_end(client)
        if len(self._full_at) > MAX_CLIENTS:
            self._full_at.popitem(last=False)
        return 0.0


def client_of(host: str | None) -> str:
    """Who is behind an address: of IPv6 the network, for a client has all of its addresses."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)
