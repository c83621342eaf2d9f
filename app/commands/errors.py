"""What a command cannot do, and its exit codes."""

from __future__ import annotations

FAILED = 1
"""Nothing came of it; one line on standard error says why. 2 is Typer's, for arguments that are none."""
SOME_FAILED = 3
"""All was done, but some studies got no report."""
INTERRUPTED = 130
"""Told to stop (128 + SIGINT, as shells have it)."""


class CommandError(Exception):
    """What the user gave cannot be used, or came to nothing; the message is for them."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
