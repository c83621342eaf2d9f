"""A run's patience: what is waited for, what is believed, and that nothing of it loses a study."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.bulk.capacity import Capacity, Room
from app.bulk.listing import Listing
from app.bulk.results import Results, format_for
from app.bulk.run import Run
from app.bulk.study import Outcome, StopError, Study
from app.service_client import ProblemError, UnreachableError
from tests.app.bulk.test_results import ANSWER, MODEL

pytestmark = pytest.mark.anyio

LIMITS = {
    "max_images": 4, "max_image_bytes": 1000, "max_body_bytes": 5000, "max_rows": 64, "max_queue": 64,
    "max_requests": 128,
}  # fmt: skip
DESCRIBED: dict[str, Any] = {**MODEL, "limits": LIMITS, "default_options": {"num_beams": 3}}
OVERLOADED = ProblemError(503, "overloaded", retry_after=0.01)
AWAY = UnreachableError("unreachable")


class Asked:
    """A reporter that fails as told, each study anew, before it answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = failures
        self.ids: dict[bytes, list[str]] = {}
        self.tell: asyncio.Event | None = None  # after ten studies
        self.now = self.most = 0

    async def model(self) -> Mapping[str, Any]:
        return DESCRIBED

    async def report(self, files: Sequence[bytes], request_id: str) -> Mapping[str, Any]:
        tries = self.ids.setdefault(files[0], [])
        tries.append(request_id)
        if self.tell and len(self.ids) == 10:
            self.tell.set()
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        if len(tries) <= len(self.failures):
            raise self.failures[len(tries) - 1]
        return ANSWER


class Silent:
    """Nobody watches."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def finished(self, outcome: Outcome) -> None:
        pass

    def waiting(self, reason: str) -> None:
        if reason:
            self.reasons.append(reason)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.retry._FIRST_SECONDS", 0.01)


class Ran:
    """A run over some studies, and what it wrote."""

    def __init__(self, folder: Path, reporter: Asked, count: int = 5, patience: float = 10.0) -> None:
        for number in range(count):
            (folder / f"{number}.png").write_bytes(f"image {number}".encode())
        self.studies = [Study(f"{number}.png", (f"{number}.png",)) for number in range(count)]
        self.results = Results(folder / "r.jsonl", format_for(folder / "r.jsonl", MODEL))
        self.stopping, self.progress = asyncio.Event(), Silent()
        capacity = Capacity.of(DESCRIBED, {}, 3)
        listing = Listing(folder, self.studies)
        self.run = Run(reporter, listing, self.results, capacity, self.progress, patience, self.stopping)

    async def work(self) -> None:
        try:
            await self.run.work()
        finally:
            self.results.close()


@pytest.mark.parametrize(
    "failures",
    [
        (OVERLOADED, OVERLOADED, OVERLOADED, OVERLOADED),
        (ProblemError(429, "rate-limited", retry_after=0.01), AWAY),
        (AWAY, ProblemError(503, "draining"), ProblemError(503, "model-not-ready"), ProblemError(502, "status 502")),
        (ProblemError(500, "internal-error"), ProblemError(504, "deadline-exceeded")),
    ],
)
async def test_what_passes(tmp_path: Path, failures: Sequence[Exception]) -> None:
    """Is asked again, by the same id, until there is an answer; a study has one line whatever came between."""
    asked = Asked(*failures)
    ran = Ran(tmp_path, asked)
    await ran.work()
    assert (ran.run.finished, dict(ran.run.problems)) == (5, {})
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 5
    assert all(len(ids) == len(failures) + 1 and len(set(ids)) == 1 for ids in asked.ids.values())
    assert asked.most <= 3


@pytest.mark.parametrize(
    "failures",
    [
        [ProblemError(422, "corrupt-image", "damaged")],
        [ProblemError(413, "status 413")],
        3 * [ProblemError(500, "internal-error")],
    ],
)
async def test_what_is_believed(tmp_path: Path, failures: Sequence[ProblemError]) -> None:
    """A refusal is the study's line, and so is what fails three times."""
    ran = Ran(tmp_path, Asked(*failures))
    await ran.work()
    assert dict(ran.run.problems) == {failures[0].type: 5}


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (ProblemError(401, "unauthorized"), "api-key-file"),
        (ProblemError(422, "invalid-options", "num_beams must be from 1 to 8"), "num_beams must be from 1 to 8"),
        (ProblemError(404, "not-found", "nothing at this address"), "nothing at this address"),
    ],
)
async def test_what_every_study_would_get(tmp_path: Path, failure: ProblemError, said: str) -> None:
    """Ends the run at once, and is nobody's line."""
    ran = Ran(tmp_path, Asked(failure))
    with pytest.raises(StopError, match=said):
        await ran.work()
    assert (tmp_path / "r.jsonl").read_bytes() == b""


async def test_patience_ends(tmp_path: Path) -> None:
    """A service that stays away ends the run, which says how to go on."""
    ran = Ran(tmp_path, Asked(*100 * [AWAY]), patience=0.1)
    with pytest.raises(StopError, match=r"away for .* \(unreachable\); the same command goes on"):
        await ran.work()
    assert ran.progress.reasons == ["unreachable"] * len(ran.progress.reasons) != []


async def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    """Nobody asks before the time that was asked for; with a rate limit not for other studies either."""
    ran = Ran(tmp_path, Asked(ProblemError(429, "rate-limited", retry_after=0.4)), count=3)
    started = time.monotonic()
    await ran.work()
    assert time.monotonic() - started >= 0.4


async def test_told_to_stop(tmp_path: Path) -> None:
    """What was sent gets its line, what waits does not, and the next run does the rest."""
    asked = Asked()
    ran = Ran(tmp_path, asked, count=50)
    asked.tell = ran.stopping
    await ran.work()
    asked.tell = None
    assert 0 < ran.run.finished == len(asked.ids) < 50
    rest = Ran(tmp_path, asked, count=50)
    await rest.work()
    assert ran.run.finished + rest.run.finished == len(asked.ids) == 50
    assert all(len(ids) == 1 for ids in asked.ids.values())


async def test_files_that_cannot_be_sent(tmp_path: Path) -> None:
    """One that is gone and one that is too large are lines of their own, and are not read."""
    ran = Ran(tmp_path, Asked(), count=3)
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").write_bytes(bytes(1001))
    await ran.work()
    assert dict(ran.run.problems) == {"unreadable-file": 1, "payload-too-large": 1}


@pytest.mark.parametrize(
    ("limits", "options", "asked", "expected"),
    [
        ({}, {}, None, 42),  # 21 studies of 3 beams fill 64 rows
        ({}, {"num_beams": "1"}, None, 64),
        ({}, {"num_beams": "8"}, None, 16),
        ({"max_requests": 4}, {}, None, 2),
        ({"max_queue": 2}, {}, None, 22),
        ({}, {}, 7, 7),
        ({}, {}, 1000, 85),
    ],
)
def test_in_flight(limits: dict[str, int], options: dict[str, str], asked: int | None, expected: int) -> None:
    """As many as keep the device busy and leave room for others; never more than the service takes."""
    described = {**DESCRIBED, "limits": LIMITS | limits}
    assert Capacity.of(described, options, asked).in_flight == expected


@pytest.mark.parametrize("described", [{}, {"limits": {}}, {"limits": None}, {"limits": LIMITS}])
def test_no_such_service(described: dict[str, Any]) -> None:
    """What says nothing of its limits is no service of reports."""
    with pytest.raises(StopError, match="no service of reports"):
        Capacity.of(described, {})


async def test_room() -> None:
    """Files held are bounded in bytes, and one larger than the bound goes alone."""
    room, held, most = Room(100), 0, 0

    async def take(size: int) -> None:
        nonlocal held, most
        await room.take(size)
        held += size
        most = max(most, held) if size <= 100 else most
        assert held <= max(100, size)
        await asyncio.sleep(0)
        held -= size
        await room.give_back(size)

    await asyncio.gather(*(take(size) for size in (60, 60, 30, 500, 10, 100)))
    assert held == 0 < most <= 100
