"""What was decided of each study, in SQLite: it outlives the process, and may be lost without harm to the PACS.

It is no record of what the PACS holds; that is asked of the PACS itself. See docs/pacs.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from app.pacs.errors import PacsError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    id INTEGER PRIMARY KEY,
    study TEXT NOT NULL UNIQUE,
    images TEXT NOT NULL,   -- which images it was decided on
    objects INTEGER,        -- how many objects the PACS had of the study when it was last looked at
    outcome TEXT NOT NULL,  -- reported, refused, no_images
    reason TEXT NOT NULL,   -- of a refusal: the type of the service's problem
    decided REAL NOT NULL   -- when, in seconds since 1970
)
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a study the last time."""

    id: int
    images: str
    objects: int | None
    outcome: str
    reason: str


def fingerprint(instances: Iterable[str]) -> str:
    """Of the images of a study, by their SOP instance UIDs: another one where they change."""
    return hashlib.sha256("\n".join(sorted(instances)).encode()).hexdigest()


class State:
    """One a folder: a second one raises `PacsError`. Used on one thread."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise PacsError(f"the folder of what is remembered cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path = folder / "studies.sqlite"
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")  # what is decided survives a loss of power
            self._database.execute(_SCHEMA)
        except BlockingIOError as error:
            os.close(self._lock)
            raise PacsError("another loop works in the folder of what is remembered") from error
        except sqlite3.Error as error:
            os.close(self._lock)
            raise PacsError("the file of what is remembered is damaged; without it the PACS is asked anew") from error

    def close(self) -> None:
        """Gives the folder free."""
        self._database.close()
        os.close(self._lock)

    def decision(self, study: str) -> Decision | None:
        """What became of a study, if it was dealt with."""
        query = "SELECT id, images, objects, outcome, reason FROM studies WHERE study = ?"
        row = self._database.execute(query, (study,)).fetchone()
        return Decision(*row) if row else None

    def decide(self, study: str, images: str, objects: int | None, outcome: str, reason: str = "") -> int:
        """Remembers it, in place of what was before. Returns the number by which logs may name the study."""
        self._database.execute(
            "INSERT INTO studies (study, images, objects, outcome, reason, decided) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (study) DO UPDATE SET images = excluded.images, objects = excluded.objects, "
            "outcome = excluded.outcome, reason = excluded.reason, decided = excluded.decided",
            (study, images, objects, outcome, reason, time.time()),
        )
        decided = self.decision(study)
        assert decided is not None  # noqa: S101  # written above
        return decided.id

    def looked_at(self, study: str, objects: int | None) -> None:
        """The study has other objects, but none that changes what was decided."""
        self._database.execute("UPDATE studies SET objects = ? WHERE study = ?", (objects, study))

    def forget_before(self, moment: float) -> None:
        """Drops what was decided before `moment`, in seconds since 1970: studies too old to be looked at again."""
        self._database.execute("DELETE FROM studies WHERE decided < ?", (moment,))
