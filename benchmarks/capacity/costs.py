"""What one replica costs, measured on the real server while it is busy: processor time of its threads and workers.

Each thread does one thing, so that nothing has to be told apart by fitting: decode workers and preprocessing, encoding,
the engine's steps, and the rest, which receives and answers. All is measured under clients that wait for their answer:
studies one by one find other caches, and at times cost twice as much.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.capacity.curve import Curve, Kind
from benchmarks.client import Request, ask
from benchmarks.dicom import dicom_file
from benchmarks.faults.studies import multipart, png
from benchmarks.load import Load, closed_loop
from benchmarks.server import ROOT, Server, started, thread_seconds

FILMS = ROOT / "weights" / "samples"
PHANTOM = ROOT / "benchmarks" / "phantom-frontal.png", ROOT / "benchmarks" / "phantom-lateral.png"
DICOM = "two DICOM views"  # of 2,048 pixels a side
CLIENTS = (2, 4, 8)  # that steps are measured with, beside
CROWD, LONG, WIDTHS = 24, 100, (3, 8)  # so many clients, tokens and beams, for steps that several studies share
OF_A_KIND = 8  # clients with studies of one kind, unless that takes too long
STEPS, ROWS = "xray_report_batch_rows_count", "xray_report_batch_rows_sum"
_FIRST = "-20"  # the nicest to oneself that Linux knows


@dataclass(frozen=True, slots=True)
class Job:
    """A study as it is sent, and how common it is among those that servers are loaded with."""

    name: str
    images: int
    request: Request
    share: float = 1.0

    def long(self, tokens: int, beams: int) -> Request:
        """The same with a report of so many tokens, looked for with so many beams."""
        target = f"{self.request.target}?min_new_tokens={tokens}&max_new_tokens={tokens}&num_beams={beams}"
        return Request(self.request.method, target, self.request.content_type, self.request.body)


def jobs() -> list[Job]:
    """The films that come with the weights, phantoms, and a study of two views, with the options of the checkpoint; and
    one study as a PACS has it, which is measured alone."""
    target = "/v1/report"
    films = sorted(FILMS.glob("*.jpg"))
    found = [Job(path.stem, 1, Request("POST", target, "image/jpeg", path.read_bytes())) for path in films]
    views = [Image.open(path) for path in PHANTOM]
    for shift in (0, 8, 16):
        cut = views[0].crop((shift, shift, views[0].width, views[0].height))
        found.append(Job(f"phantom, {shift} pixels cut off", 1, Request("POST", target, "image/png", png(cut))))
    found.append(Job("phantom, two views", 2, Request("POST", target, *multipart([png(view) for view in views]))))
    dicom = multipart([dicom_file(view, "JPEG 2000") for view in views])
    return [*found, Job(DICOM, 2, Request("POST", target, *dicom), share=0.0)]


@contextmanager
def replica(core: int, folder: Path) -> Iterator[tuple[Server, float]]:
    """A server with this processor for itself, warm, and the seconds until it was ready."""
    begun = time.perf_counter()
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "benchmarks.capacity.named_server", "serve"]
    environment = {"XRAY_REPORT_PORT": "0", "XRAY_REPORT_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with started(command, folder / f"{core}.log", environment, session=True) as process:
        server = Server(process, folder / f"{core}.log")
        seconds = time.perf_counter() - begun
        for pid in (process.pid, *server.workers):
            go_first(pid)
        yield server, seconds


def go_first(pid: int | str) -> None:
    """What else the machine does is to wait for this session, which then has its processor to itself. Only Linux with
    autogroups knows such a thing, and only the superuser may ask for it."""
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(_FIRST)


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds of a server and its workers, by what they are for, and steps and their beams, so far."""

    decode: float
    encode: float
    step: float
    serve: float
    steps: float
    rows: float

    def since(self, then: Spent) -> Spent:
        """What has been added."""
        return Spent(*(getattr(self, name) - getattr(then, name) for name in self.__slots__))


async def _spent(server: Server) -> Spent:
    metrics, threads = await server.metrics(), thread_seconds(server.process.pid)

    def of(*names: str) -> float:
        return sum(seconds for name, seconds in threads.items() if name.startswith(names))

    decode, encode, step = of("decode", "preprocess"), of("encode"), of("engine")
    serve = sum(threads.values()) - decode - encode - step
    workers = sum(sum(thread_seconds(pid).values()) for pid in server.workers)
    return Spent(decode + workers, encode, step, serve, metrics.get(STEPS, 0.0), metrics.get(ROWS, 0.0))


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a server made of clients that wait: what it spent on which studies."""

    load: Load
    spent: Spent
    sent: Sequence[Job]

    @property
    def images(self) -> int:
        """Of all studies together."""
        return sum(job.images for job in self.sent)


async def loaded(
    server: Server, given: Sequence[Job], clients: int, seconds: float, *, reports: tuple[int, int] | None = None
) -> Loaded:
    """Loads a server with studies of these kinds by turns, after a second of it that is not counted; with reports of so
    many tokens by so many beams, or as it writes them. One kind is taken whatever its share, of several those that have
    one."""
    sent = list[Job]()

    def requests() -> Iterator[Request]:
        for job in itertools.cycle([job for job in given if job.share or len(given) == 1]):
            sent.append(job)
            yield job.long(*reports) if reports else job.request

    await closed_loop(server.port, requests(), clients, min(1.0, seconds / 3))
    sent.clear()
    before = await _spent(server)
    load = await closed_loop(server.port, requests(), clients, seconds)
    return Loaded(load, (await _spent(server)).since(before), sent)


async def measured_curve(server: Server, given: Sequence[Job], seconds: float, *, tokens: int = LONG) -> Curve:
    """The curve of a server that is warm; `seconds` go to each of its loads: a minute with three. `tokens` make reports
    long."""
    kinds = [await _kind(server, job, seconds) for job in given]
    mixed = [await loaded(server, given, clients, seconds) for clients in CLIENTS]
    crowds = [await loaded(server, given, CROWD, seconds, reports=(tokens, beams)) for beams in WIDTHS]
    encode = sum(one.spent.encode for one in mixed) / sum(one.images for one in mixed)
    steps = steps_of([one.spent for one in (*mixed, *crowds)])
    return Curve(tuple(kinds), encode, tuple(steps), tuple(steps.values()))


def steps_of(loads: Sequence[Spent]) -> dict[float, float]:
    """The mean seconds of a step by its mean beams, ascending. Loads of the same beams are one: where steps are quick,
    a few clients meet as seldom as two."""
    alike: dict[float, list[Spent]] = {}
    for one in sorted(loads, key=lambda one: one.rows / one.steps):
        alike.setdefault(one.rows / one.steps, []).append(one)
    return {beams: sum(one.step for one in same) / sum(one.steps for one in same) for beams, same in alike.items()}


async def _kind(server: Server, job: Job, seconds: float) -> Kind:
    """What studies of a kind cost but for the network, and how long and how wide their reports are."""
    await ask(server.port, job.request)
    before = await _spent(server)
    answer = await ask(server.port, job.request)
    steps = (await _spent(server)).since(before).steps
    clients = max(2, min(OF_A_KIND, int(seconds / answer.seconds)))
    found = await loaded(server, [job], clients, seconds)
    studies, spent = len(found.sent), found.spent
    beams = int(answer.json()["options"]["num_beams"])
    return Kind(job.name, job.images, beams, steps, spent.decode / found.images, spent.serve / studies, job.share)
