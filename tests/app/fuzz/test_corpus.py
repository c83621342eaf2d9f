"""A server under a stream of hostile files: each is answered as documented, and nobody else notices."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from benchmarks.server import Server
from tests.app.fuzz.conftest import DECODE_WORKERS
from tests.app.fuzz.corpus import Specimen, corpus
from tests.app.pictures import phantom, png

URL = "/v1/report"
QUICK = {"num_beams": 1, "max_new_tokens": 4}
COUNTS = {False: 200, True: 2400}
SLOWEST_SECONDS = 5.0
MORE_MEBIBYTES = 300
SETTLE_SECONDS = 0.5  # for workers that are being replaced


def test_hostile_files(server: Server, long: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file is answered 200 or a documented 4xx, in time and in little memory; the good ones between succeed."""
    with server.client() as client, ThreadPoolExecutor(2) as threads:
        documented = client.get("/openapi.json").json()["paths"][URL]["post"]["responses"]
        pictures = [png(phantom(shift=i)) for i in range(8)]
        expected = [report_on(client, picture) for picture in pictures]
        before, workers = settled(server)
        answers: Counter[int] = Counter()
        slowest = (0.0, "")
        for i, (specimen, response) in enumerate(send(client, threads, corpus(COUNTS[long]))):
            label = f"{specimen.kind}, {specimen.fault}"
            assert response.status_code == 200 or 400 <= response.status_code < 500, label
            assert str(response.status_code) in documented, label
            assert response.status_code == 200 or response.headers["content-type"] == "application/problem+json"
            answers[response.status_code] += 1
            slowest = max(slowest, (response.elapsed.total_seconds(), label))
            if i % 8 == 0:
                assert report_on(client, pictures[i // 8 % 8]) == expected[i // 8 % 8], f"after {label}"
        after, workers_after = settled(server)
    if long:
        with capsys.disabled():
            megabytes = f"{before:.0f} -> {after:.0f} MiB"
            print(f"\n{dict(answers)}, slowest {slowest[0]:.2f} s ({slowest[1]}), server and workers {megabytes}")
    assert after < before + MORE_MEBIBYTES
    assert workers_after == workers == DECODE_WORKERS
    assert "error" not in {entry["level"] for entry in server.log}
    assert "DOE" not in server.written
    if long:  # where the limits are the settings' defaults, and no other test runs beside it
        assert slowest[0] < SLOWEST_SECONDS, slowest[1]


def send(
    client: httpx.Client, threads: ThreadPoolExecutor, specimens: Iterable[Specimen]
) -> Iterator[tuple[Specimen, httpx.Response]]:
    """As many at once as there are threads; every other one as a raw body."""

    def post(numbered: tuple[int, Specimen]) -> tuple[Specimen, httpx.Response]:
        i, specimen = numbered
        if i % 2 and specimen.data:
            headers = {"content-type": "image/png" if specimen.kind == "PNG" else "image/jpeg"}
            return specimen, client.post(URL, params=QUICK, content=specimen.data, headers=headers)
        return specimen, client.post(URL, params=QUICK, files={"image": ("JOHN_DOE.png", specimen.data)})

    yield from threads.map(post, enumerate(specimens))


def report_on(client: httpx.Client, picture: bytes) -> str:
    """The report on a good picture, which must be had at any time."""
    response = client.post(URL, files={"image": picture})
    assert response.status_code == 200
    return str(response.json()["report"]["text"])


def settled(server: Server) -> tuple[float, int]:
    """Mebibytes of the server and its workers, and how many workers there are, after a moment."""
    time.sleep(SETTLE_SECONDS)
    return server.memory(), len(server.workers)
