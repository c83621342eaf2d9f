"""What may come between a study and its report. No message holds anything of the study."""

from __future__ import annotations


class PacsError(Exception):
    """The loop cannot start; the message is for whoever started it."""


class AwayError(Exception):
    """The service or the PACS is away, for every study alike. `who` is one of the two."""

    def __init__(self, who: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.who = who
        self.retry_after = retry_after


class RefusedError(Exception):
    """The service will not report on this study, however often it is asked. The message is the problem's type."""


class StudyFailedError(Exception):
    """This study failed, by no fault of its own as far as is known: it is tried again later. The message says where."""
