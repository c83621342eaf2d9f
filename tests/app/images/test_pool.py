"""The decode pool gives what `decode_image` gives, and survives whatever an image does to a worker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.images.decode import decode_image
from app.images.errors import CorruptImageError, DecodeError, ImageTooLargeError, UnsupportedImageError
from app.images.pool import DecodePool
from app.images.sandbox import Worker, WorkerDiedError, WorkerStartError
from tests.app.pictures import claiming, jpeg, phantom, phantom16, png, with_chunk

FILES = [
    png(phantom()),
    png(Image.fromarray(phantom16(300, 200))),
    jpeg(phantom(900, 700)),
    png(Image.new("RGB", (16, 16), (255, 0, 0))),
]


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    pool = DecodePool(1, timeout=5.0, max_pixels=1_000_000, network_size=100)
    yield pool
    pool.close()


def worker_pid(pool: DecodePool) -> int:
    """The next worker's. Waits for it to be idle."""
    seat = pool._seats.get()
    pool._seats.put(seat)
    return seat.take().pid


@pytest.mark.parametrize("file", FILES)
def test_same_as_in_process(pool: DecodePool, file: bytes) -> None:
    """The worker's image is the one decoded here."""
    there, here = pool.decode(file).result(), decode_image(file, network_size=100)
    np.testing.assert_array_equal(there.pixels, here.pixels)
    assert there.pixels.dtype == here.pixels.dtype
    assert there.pixels.flags.writeable
    for name in ("format", "width", "height", "region", "sha256", "warnings"):
        assert getattr(there, name) == getattr(here, name)


@pytest.mark.parametrize(
    ("file", "error"),
    [
        (b"no image", UnsupportedImageError),
        (png(phantom())[:100], CorruptImageError),
        (claiming(png(phantom()), 4000, 4000), ImageTooLargeError),
    ],
)
def test_same_errors(pool: DecodePool, file: bytes, error: type[DecodeError]) -> None:
    """Errors come back as the types they were raised as."""
    with pytest.raises(error):
        pool.decode(file).result()


def test_modules_are_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker imports nothing from the folder it is started in."""
    (tmp_path / "json.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    worker = Worker(max_pixels=100)
    try:
        worker.prove()
    finally:
        worker.close()


def test_out_of_memory() -> None:
    """A file that needs more memory than its pixels justify is too large, fails alone, and is not called damaged."""
    small = DecodePool(1, max_pixels=10_000)
    try:
        pid = worker_pid(small)
        with pytest.raises(ImageTooLargeError):
            small.decode(with_chunk(png(phantom()), b"tEXt", bytes(80 * 2**20))).result()
        assert small.decode(FILES[0]).result().width == 64
        assert worker_pid(small) == pid
    finally:
        small.close()


def test_idle_worker_killed(pool: DecodePool) -> None:
    """A worker killed between two images is replaced; no image fails for it."""
    pid = worker_pid(pool)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert pool.decode(FILES[0]).result().width == 64


def test_worker_that_hangs() -> None:
    """A worker that hangs is killed after the time limit; its image is too large to decode, and no other fails."""
    pool = DecodePool(1, timeout=1.5)
    try:
        os.kill(worker_pid(pool), signal.SIGSTOP)  # as good as an endless loop
        hanging, waiting = pool.decode(FILES[2]), pool.decode(FILES[0])
        started = time.monotonic()
        with pytest.raises(ImageTooLargeError, match="limits of time"):
            hanging.result()
        assert 1.0 < time.monotonic() - started < 4.0
        assert waiting.result().width == 64
    finally:
        pool.close()


def test_worker_killed_at_work(pool: DecodePool) -> None:
    """An image whose worker is killed from outside is decoded by a new one."""
    pid = worker_pid(pool)
    os.kill(pid, signal.SIGSTOP)
    interrupted = pool.decode(FILES[2])
    time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    assert interrupted.result().width == 700
    assert worker_pid(pool) != pid


def test_image_that_kills(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that takes a second worker with it fails, rather than go on."""
    pids = []

    def die(worker: Worker, *_: object) -> None:
        pids.append(worker.pid)
        raise WorkerDiedError

    with monkeypatch.context() as patch:
        worker_pid(pool)
        patch.setattr(Worker, "prove", lambda _: None)
        patch.setattr(Worker, "decode", die)
        with pytest.raises(CorruptImageError):
            pool.decode(FILES[2]).result()
    assert len(set(pids)) == 2
    assert pool.decode(FILES[0]).result().width == 64


def test_cancelled_while_decoding(pool: DecodePool) -> None:
    """An image nobody waits for any more does not keep its worker."""
    pid = worker_pid(pool)
    os.kill(pid, signal.SIGSTOP)
    unwanted, waiting = pool.decode(FILES[2]), pool.decode(FILES[0])
    time.sleep(0.1)
    started = time.monotonic()
    assert unwanted.cancel()
    assert waiting.result().width == 64
    assert time.monotonic() - started < 4.0 < pool._timeout


def test_close_drops_what_waits() -> None:
    """Closing leaves no future unresolved."""
    pool = DecodePool(1, timeout=0.5)
    os.kill(worker_pid(pool), signal.SIGSTOP)
    running, waiting = pool.decode(FILES[2]), pool.decode(FILES[0])
    time.sleep(0.1)
    pool.close()
    assert waiting.cancelled()
    with pytest.raises(ImageTooLargeError):
        running.result()


def test_close_ends_the_workers() -> None:
    """Nothing is left running."""
    pool = DecodePool(2)
    pids = [worker_pid(pool), worker_pid(pool)]
    pool.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_that_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """When workers cannot work the pool does not start, rather than call every image corrupt."""
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(WorkerStartError, match="no decode worker can be started"):
        DecodePool(1)


def test_replacement_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a lost worker cannot be replaced images fail with that, and no longer than it lasts."""
    pool = DecodePool(1)
    try:
        os.kill(worker_pid(pool), signal.SIGKILL)
        with monkeypatch.context() as patch:
            patch.setattr("sys.executable", "/nowhere/python")
            with pytest.raises(WorkerStartError, match="no decode worker can be started"):
                pool.decode(FILES[0]).result()
        assert pool.decode(FILES[0]).result().width == 64
    finally:
        pool.close()
