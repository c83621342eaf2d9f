"""API keys: `Authorization: Bearer <key>`, known only by their SHA-256. Off unless hashes are configured."""

from __future__ import annotations

import hashlib
import hmac

from fastapi import Request

from app.api.problems import Problem
from app.api.service import ServiceDep

# Fast hashing is enough: keys are long random strings, not passwords (`openssl rand -hex 32`).


async def require_api_key(request: Request, service: ServiceDep) -> None:
    """Raises the problem `unauthorized` unless a configured key is given, or none is configured."""
    hashes = service.settings.api_key_hashes
    if not hashes:
        return
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    given = hashlib.sha256(key.strip().encode()).hexdigest()
    # Compared with every one, each in constant time: neither a prefix nor a position leaks.
    known = [hmac.compare_digest(given, hash_) for hash_ in hashes]
    if scheme.lower() != "bearer" or not any(known):
        raise Problem("unauthorized", headers={"WWW-Authenticate": "Bearer"})
