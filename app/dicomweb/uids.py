"""Unique identifiers, PS3.5 section 9.1."""

from __future__ import annotations

import re

MAX_LENGTH = 64
# Numbers without leading zeros, separated by dots. `UID.is_valid` of pydicom takes one with a line feed behind it.
PATTERN = r"^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+$"
_UID = re.compile(PATTERN[1:-1], re.ASCII)


def is_uid(value: object) -> bool:
    """Whether it is a valid UID: only then may it stand in an address or a file's name."""
    return isinstance(value, str) and len(value) <= MAX_LENGTH and _UID.fullmatch(value) is not None
