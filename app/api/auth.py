"""Who asks: an API key, `Authorization: Bearer <key>`, known only by its SHA-256, else an address; and how often.

Keys are asked for where hashes are configured.
"""

from __future__ import annotations

import hashlib
import hmac
import math

from fastapi import Request

from app.api.headers import single
from app.api.problems import Problem
from app.api.rate_limit import client_of
from app.api.service import Service, ServiceDep

# Fast hashing is enough: keys are long random strings, not passwords (`openssl rand -hex 32`).


async def require_api_key(request: Request, service: ServiceDep) -> str:
    """The client: its key's hash, or its address. Raises the problem `unauthorized` without a configured key."""
    hashes = service.settings.api_key_hashes
    if not hashes:
        return client_of(request.client.host if request.client else None)
    scheme, _, key = single(request.headers, "authorization").partition(" ")
    given = hashlib.sha256(key.strip().encode("latin-1")).hexdigest()
    # Compared with every one, each in constant time: neither a prefix nor a position leaks.
    known = [hmac.compare_digest(given, hash_) for hash_ in hashes]
    if scheme.lower() != "bearer" or not any(known):
        raise Problem("unauthorized", headers={"WWW-Authenticate": "Bearer"})
    return given


async def let_in(request: Request, service: Service) -> None:
    """Counts a request of its client. Raises the problem `unauthorized`, or `rate-limited` when there are too many."""
    client = await require_api_key(request, service)
    if seconds := await service.seconds_to_wait(client):
        raise Problem("rate-limited", headers={"Retry-After": str(math.ceil(seconds))})
