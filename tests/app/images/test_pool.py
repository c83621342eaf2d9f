"""The decode pool gives what `decode_image` gives, and survives whatever an image does to a worker."""

from __future__ import annotations

import os
import signal
import threading
import time
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from app.images.decode import CorruptImageError, DecodeError, ImageTooLargeError, UnsupportedImageError, decode_image
from app.images.sandbox import DecodePool
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
    worker = pool._idle.get()
    pool._idle.put(worker)
    return worker._process.pid


@pytest.mark.parametrize("file", FILES)
def test_same_as_in_process(pool: DecodePool, file: bytes) -> None:
    """The worker's image is the one decoded here."""
    there, here = pool.decode(file).result(), decode_image(file, network_size=100)
    np.testing.assert_array_equal(there.pixels, here.pixels)
    assert there.pixels.dtype == here.pixels.dtype
    assert there.pixels.flags.writeable
    for name in ("format", "width", "height", "sha256", "warnings"):
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


def test_out_of_memory() -> None:
    """An image that needs more memory than its pixels justify fails alone."""
    file = png(phantom())
    for i in range(60):  # below Pillow's own bound on text, above the worker's on memory
        file = with_chunk(file, b"zTXt", b"c%d\0\0" % i + zlib.compress(bytes(2**20 - 1)))
    small = DecodePool(1, max_pixels=10_000)
    try:
        with pytest.raises(CorruptImageError):
            small.decode(file).result()
        assert small.decode(FILES[0]).result().width == 64
    finally:
        small.close()


def test_idle_worker_killed(pool: DecodePool) -> None:
    """A worker killed between two images is replaced; no image fails for it."""
    pid = worker_pid(pool)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert pool.decode(FILES[0]).result().width == 64


def test_worker_killed_at_work() -> None:
    """A worker that dies takes its image with it and no other; one that hangs is killed after the time limit."""
    pool = DecodePool(1, timeout=1.5)
    try:
        os.kill(worker_pid(pool), signal.SIGSTOP)  # as good as an endless loop
        hanging, waiting = pool.decode(FILES[2]), pool.decode(FILES[0])
        started = time.monotonic()
        with pytest.raises(CorruptImageError, match="limits of time"):
            hanging.result()
        assert 1.0 < time.monotonic() - started < 4.0
        assert waiting.result().width == 64

        pid = worker_pid(pool)
        os.kill(pid, signal.SIGSTOP)
        dying = pool.decode(FILES[2])
        threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()
        with pytest.raises(CorruptImageError):
            dying.result()
        assert pool.decode(FILES[0]).result().width == 64
    finally:
        pool.close()


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
    with pytest.raises(RuntimeError, match="do not start"):
        DecodePool(1)
