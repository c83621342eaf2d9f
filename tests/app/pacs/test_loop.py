"""The loop over a real Orthanc: what is reported, what is not, and what happens while somebody is away.

The service is a stand-in that fails as told; `test_orthanc` has the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.dicomweb.client import DicomWebClient
from app.dicomweb.header import read_instance
from app.pacs.destinations import DicomWebDestination, PeerDestination
from app.pacs.errors import AwayError, PacsError
from app.pacs.loop import Loop
from app.pacs.metrics import PacsMetrics
from app.pacs.received import Inbox
from app.pacs.reporter import Reporter
from app.pacs.service import ReportService
from app.pacs.spool import Spool
from app.pacs.state import State, fingerprint
from app.pacs.watcher import Watcher
from app.retry import Pause
from app.settings import load_settings
from tests.app.dicom_phantoms import dicom, uid
from tests.app.pacs.orthanc import TITLE, Orthanc, orthanc
from tests.app.pacs.running import stow
from tests.app.pacs.stand_in import StandIn, answer_with, stand_in

PICTURE = (np.mgrid[:80, :64].sum(0) % 251).astype(np.uint8)
pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def pacs(shared: Orthanc) -> Iterator[Orthanc]:
    """An empty PACS."""
    yield shared
    with shared.client() as client:
        for study in client.get("/studies").json():
            client.delete(f"/studies/{study}")


@pytest.fixture
def service() -> Iterator[StandIn]:
    with stand_in() as running:
        yield running


class Running:
    """A loop in this process."""

    def __init__(self, loop: Loop, state: State, metrics: PacsMetrics, spool: Spool) -> None:
        self.loop, self.state, self.metrics, self.spool = loop, state, metrics, spool

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"xray_report_pacs_{name}", labels) or 0.0

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110  # a process elsewhere sets no event
                await asyncio.sleep(0.05)

    async def outcome(self, name: str, times: int = 1) -> None:
        await self.until(lambda: self.count("studies_total", outcome=name) >= times)

    async def rounds(self, number: int = 3) -> None:
        """So many more rounds have gone through."""
        for _ in range(number):
            before = self.count("last_round_timestamp_seconds")
            await self.until(lambda before=before: self.count("last_round_timestamp_seconds") > before)  # type: ignore[misc]  # mypy knows no lambda's default


@asynccontextmanager
async def looping(
    folder: Path,
    pacs_url: str,
    service: str,
    peer: tuple[str, int] | None = None,
    *,
    received: bool = False,
    **more: Any,
) -> AsyncIterator[Running]:
    """A loop over the PACS, or with `received` over what was sent to us."""
    quick = {
        "pacs_poll_seconds": 0.1,
        "pacs_stable_seconds": 0.3,
        "pacs_lookback_days": 0,
        "pacs_max_pause_seconds": 0.5,
    }
    settings = load_settings(checkpoint="none.pt", dicomweb_url=pacs_url, **quick | more)
    client, asked = DicomWebClient(pacs_url), ReportService(service, None, 20)
    state, metrics = State(folder), PacsMetrics()
    spool = Spool(folder / "received", 10**9, 100)
    destination = PeerDestination(peer[0], "127.0.0.1", peer[1], "US", 20) if peer else DicomWebDestination(client, 20)
    source = Inbox(spool, settings, metrics) if received else Watcher(client, state, settings, metrics)
    loop = Loop(source, Reporter(asked, destination, state, metrics), metrics, settings.pacs_max_pause_seconds)
    task = asyncio.create_task(loop.run())
    try:
        yield Running(loop, state, metrics, spool)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asked.close()
        await client.close()
        state.close()


def put(pacs: Orthanc, number: int, instance: int = 1, **tags: Any) -> str:
    """Stores an image of the phantom patient of this number. Returns the study's UID."""
    stow(pacs.dicomweb_url, dicom(PICTURE, number=number, instance=instance, **tags))
    return uid("study", number)


def reports(pacs: Orthanc) -> list[tuple[str, str]]:
    return sorted((study, modality) for study, modality, _ in pacs.objects("SR", "DOC"))


async def test_one_sr_and_one_pdf(tmp_path: Path, pacs: Orthanc, service: StandIn) -> None:
    """A study gets one of each; what we stored is no reason to report again, nor is another loop."""
    study = put(pacs, 1)
    put(pacs, 1, 2, ViewPosition="LL")
    async with looping(tmp_path / "one", pacs.dicomweb_url, service.url) as running:
        await running.outcome("reported")
        await running.until(lambda: running.count("waiting") == 0)
        await running.rounds()
    assert reports(pacs) == [(study, "DOC"), (study, "SR")]
    assert service.asked == [("sr", 2), ("pdf", 2)]
    async with looping(tmp_path / "one", pacs.dicomweb_url, service.url) as running:  # it remembers
        await running.rounds()
    assert len(service.asked) == 2
    async with looping(tmp_path / "two", pacs.dicomweb_url, service.url) as running:  # this one has to ask
        await running.outcome("already_reported")
    assert reports(pacs) == [(study, "DOC"), (study, "SR")]


async def test_half_stored(tmp_path: Path, pacs: Orthanc, service: StandIn) -> None:
    """Who dies between SR and PDF has the PDF alone made good."""
    study = put(pacs, 1)
    image = dicom(PICTURE, number=1)
    stow(pacs.dicomweb_url, answer_with([image], "sr"))
    async with looping(tmp_path, pacs.dicomweb_url, service.url) as running:
        await running.outcome("reported")
        assert (
            running.count("objects_stored_total", kind="sr"),
            running.count("objects_stored_total", kind="pdf"),
        ) == (0, 1)
    assert reports(pacs) == [(study, "DOC"), (study, "SR")]


async def test_growing_study(tmp_path: Path, pacs: Orthanc, service: StandIn) -> None:
    """A study is not reported on while it still grows."""
    async with looping(tmp_path, pacs.dicomweb_url, service.url, pacs_stable_seconds=3) as running:
        for instance in range(1, 5):
            put(pacs, 1, instance)
            await asyncio.sleep(0.5)
        assert service.asked == []
        await running.outcome("reported")
    assert service.asked == [("sr", 4), ("pdf", 4)]


async def test_refused(tmp_path: Path, pacs: Orthanc, service: StandIn) -> None:
    """A refusal is remembered with its reason, also over a restart, and not asked again until the images change."""
    study = put(pacs, 1)
    service.refuse_studies.add(study)
    async with looping(tmp_path, pacs.dicomweb_url, service.url) as running:
        await running.outcome("refused")
        await running.rounds()
        decision = running.state.decision(study)
        assert decision is not None
        assert (decision.outcome, decision.reason) == ("refused", "not-a-chest-xray")
    async with looping(tmp_path, pacs.dicomweb_url, service.url) as running:
        await running.rounds()
        assert len(service.asked) == 1
        service.refuse_studies.clear()
        put(pacs, 1, 2)
        await running.outcome("reported")
    assert service.asked == [("sr", 1), ("sr", 2), ("pdf", 2)]


async def test_nothing_to_report_on(tmp_path: Path, pacs: Orthanc, service: StandIn) -> None:
    """A study without a chest image is left alone, one of another modality is not even looked at."""
    put(pacs, 1, BodyPartExamined="HAND")
    put(pacs, 2, Modality="OT")
    async with looping(tmp_path, pacs.dicomweb_url, service.url) as running:
        await running.outcome("no_images")
        await running.rounds()
    assert (service.asked, reports(pacs)) == ([], [])


async def test_dates(tmp_path: Path, pacs: Orthanc, service: StandIn) -> None:
    """Studies of other days, as an archive sends them back, are not looked at."""
    put(pacs, 1)
    async with looping(tmp_path, pacs.dicomweb_url, service.url, pacs_lookback_days=2) as running:
        await running.rounds(8)
    assert service.asked == []


@pytest.mark.parametrize(
    ("status", "problem"), [(503, "overloaded"), (429, "rate-limited"), (401, "unauthorized"), (406, "not-acceptable")]
)
async def test_service_away(tmp_path: Path, pacs: Orthanc, service: StandIn, status: int, problem: str) -> None:
    """A service that is away, or does not know us, is asked again, and nothing is held against the study."""
    put(pacs, 1)
    service.failures = [(status, problem, "0"), (status, problem, None)]
    async with looping(tmp_path, pacs.dicomweb_url, service.url) as running:
        await running.outcome("reported")
        assert running.count("away_total", who="service") == 2
    assert [kind for kind, _ in service.asked] == ["sr", "sr", "sr", "pdf"]


async def test_nobody_there(tmp_path: Path, pacs: Orthanc) -> None:
    """Neither a service nor a PACS that is not there ends the loop."""
    put(pacs, 1)
    async with looping(tmp_path, pacs.dicomweb_url, "http://127.0.0.1:9") as running:
        await running.until(lambda: running.count("away_total", who="service") >= 2)
    async with looping(tmp_path, "http://127.0.0.1:9", "http://127.0.0.1:9") as running:
        await running.until(lambda: running.count("away_total", who="pacs") >= 2)


async def test_one_failing_study(tmp_path: Path, pacs: Orthanc, service: StandIn) -> None:
    """A study at which the service fails waits by itself, and is tried again."""
    put(pacs, 1)
    service.failures = [(500, "internal-error", None)]
    async with looping(tmp_path, pacs.dicomweb_url, service.url) as running:
        await running.outcome("failed")
        put(pacs, 2)
        await running.outcome("reported", 2)
    assert len(reports(pacs)) == 4


async def test_received(tmp_path: Path, pacs: Orthanc, service: StandIn) -> None:
    """Studies sent to us are reported on, their reports sent to a peer, and their files let go then."""
    async with looping(tmp_path, pacs.dicomweb_url, service.url, (TITLE, pacs.dicom_port), received=True) as running:
        for number, instance in ((1, 1), (1, 2), (2, 1)):
            file = dicom(PICTURE, number=number, instance=instance)
            header = read_instance(file)
            assert header is not None
            running.spool.add(header, file)
        await running.outcome("reported", 2)
        await running.until(lambda: running.spool.count() == 0)
        again = dicom(PICTURE, number=2)
        header = read_instance(again)
        assert header is not None
        running.spool.add(header, again)  # the same sent once more
        await running.until(lambda: running.spool.count() == 0)
    assert reports(pacs) == sorted((uid("study", number), kind) for number in (1, 2) for kind in ("SR", "DOC"))
    assert sorted(service.asked) == [("pdf", 1), ("pdf", 2), ("sr", 1), ("sr", 2)]


# pynetdicom leaves a socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_received_and_nobody_to_take_it(tmp_path: Path, pacs: Orthanc, service: StandIn) -> None:
    """While the peer is away the files stay."""
    async with looping(tmp_path, pacs.dicomweb_url, service.url, (TITLE, 9), received=True) as running:
        file = dicom(PICTURE)
        header = read_instance(file)
        assert header is not None
        running.spool.add(header, file)
        await running.until(lambda: running.count("away_total", who="pacs") >= 2)
        assert running.spool.count() == 1


async def test_object_of_another_study(tmp_path: Path, pacs: Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service sends is stored only where it says it belongs to the study it was asked about."""
    put(pacs, 1)
    other = answer_with([dicom(PICTURE, number=2)], "sr")

    async def wrong(self: ReportService, files: Any, kind: str) -> bytes:
        return other

    monkeypatch.setattr(ReportService, "report", wrong)
    with stand_in() as service:
        async with looping(tmp_path, pacs.dicomweb_url, service.url) as running:
            await running.outcome("failed")
    assert reports(pacs) == []


def test_second_loop(tmp_path: Path) -> None:
    """Two loops do not share a folder."""
    state = State(tmp_path)
    with pytest.raises(PacsError, match="another loop"):
        State(tmp_path)
    state.close()
    State(tmp_path).close()


def test_damaged_state(tmp_path: Path) -> None:
    """A file that is none says what to do."""
    (tmp_path / "studies.sqlite").write_bytes(b"no database " * 1000)
    with pytest.raises(PacsError, match="damaged"):
        State(tmp_path)


def test_state(tmp_path: Path) -> None:
    """The last decision counts, by the images it was made on; the file is ours alone."""
    state = State(tmp_path)
    assert state.decision("1.2") is None
    first = state.decide("1.2", fingerprint(["1.2.3"]), 4, "refused", "corrupt-image")
    assert state.decide("1.2", fingerprint(["1.2.4", "1.2.3"]), 5, "reported") == first
    state.looked_at("1.2", 7)
    decision = state.decision("1.2")
    assert decision is not None
    assert (decision.images, decision.objects) == (fingerprint(["1.2.3", "1.2.4"]), 7)
    assert (decision.outcome, decision.reason) == ("reported", "")
    state.forget_before(0)
    assert state.decision("1.2") is not None
    state.forget_before(1e12)
    assert state.decision("1.2") is None
    assert oct((tmp_path / "studies.sqlite").stat().st_mode & 0o777) == "0o600"
    state.close()


def test_pause() -> None:
    """It doubles up to its bound, half of it by chance, and begins anew after success; who asks for more gets it."""
    pause = Pause(60)
    taken = [pause.next() for _ in range(40)]
    assert all(
        bound / 2 <= seconds <= bound for seconds, bound in zip(taken, [1, 2, 4, 8, 16, 32] + [60] * 34, strict=True)
    )
    assert len(set(taken[10:])) > 1
    pause.reset()
    assert pause.next() <= 1
    assert 30 <= pause.next(retry_after=30) <= 33
    assert pause.next(retry_after=10**9) <= 66


async def test_retry_after(service: StandIn) -> None:
    """What the service says of when to come back is heard."""
    service.failures = [(503, "overloaded", "17")]
    asked = ReportService(service.url, "key", 20)
    with pytest.raises(AwayError, match="overloaded") as raised:
        await asked.report([dicom(PICTURE)], "sr")
    assert raised.value.retry_after == 17
    await asked.close()
