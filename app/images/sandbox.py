"""Decoding in worker processes with limits on time and memory: a hostile file takes down its worker and nothing else.

A worker is a plain Python process spoken to over its standard streams, one at a time by one thread. Messages are a
JSON header and raw bytes, never pickle, so that a worker that was taken over cannot run code here. (Ready-made pools
were tried: `concurrent.futures` breaks as a whole when a worker dies, pebble 5.2 when an idle one does.)
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import resource
import struct
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, cast

import numpy as np

from app.images.decode import MAX_PIXELS, CorruptImageError, DecodedImage, DecodeError, decode_image

_FRAME = struct.Struct("!IQ")  # bytes of header, bytes of payload
_ERRORS = {error.type: error for error in DecodeError.__subclasses__()}
_ROOT = Path(__file__).parents[2]
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG")  # the rest of ours may hold secrets
# What decoding may take on top of a fresh worker: the worst case seen, RGBA, holds 11 bytes a pixel at once.
_SPARE_BYTES, _BYTES_PER_PIXEL = 2**26, 24
_START_SECONDS = 60.0
_PROBE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)  # a PNG of one black pixel
_PIPE_BYTES = 2**20  # Linux's most for an unprivileged user; the default of 64 KiB costs a switch each


class _WorkerDiedError(Exception):
    """The worker ended, was killed for taking too long, or does not speak the protocol."""


def _send(stream: IO[bytes], header: dict[str, Any], payload: bytes | bytearray | memoryview) -> None:
    head = json.dumps(header).encode()
    stream.write(_FRAME.pack(len(head), len(payload)))
    stream.write(head)
    stream.write(payload)
    stream.flush()


def _receive(stream: IO[bytes], max_payload: int) -> tuple[dict[str, Any], memoryview]:
    """Raises `EOFError` when the other side is gone or says something else."""
    frame = stream.read(_FRAME.size)
    if len(frame) < _FRAME.size:
        raise EOFError
    head_size, payload_size = _FRAME.unpack(frame)
    if head_size > 2**16 or payload_size > max_payload:
        raise EOFError
    header = json.loads(stream.read(head_size))
    payload = np.empty(payload_size, np.uint8).data  # not zeroed first, unlike a bytearray
    if stream.readinto(payload) != payload_size:  # type: ignore[attr-defined]  # typeshed's IO lacks it
        raise EOFError
    return header, payload


class _Worker:
    """One decode process. Not thread-safe."""

    def __init__(self, memory_bytes: int) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, sys.path)])
        environment["OPENBLAS_NUM_THREADS"] = "1"  # each thread reserves address space
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-m", __name__, str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the server, which then lets its requests finish
        )
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        for stream in (self._requests, self._answers):
            with suppress(OSError, AttributeError):  # less speed where it may not, or is not Linux
                fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def decode(self, data: bytes | bytearray, options: dict[str, Any], timeout: float) -> DecodedImage:
        """Raises what `decode_image` raises, and `_WorkerDiedError`."""
        # Killing the process ends a blocked write as well as a blocked read.
        alarm = threading.Timer(timeout, self._process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            _send(self._requests, options, data)
            header, payload = _receive(self._answers, max_payload=2 * options["max_pixels"])
            if "error" in header:
                raise _ERRORS[header["error"]](header["message"])
            pixels = np.frombuffer(payload, header.pop("dtype")).reshape(header.pop("shape"))
            return DecodedImage(pixels=pixels, **{**header, "warnings": tuple(header["warnings"])})
        except DecodeError:
            raise
        except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
            raise _WorkerDiedError from error
        finally:
            alarm.cancel()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """Ends the process, at once."""
        self._process.kill()
        with suppress(BrokenPipeError):  # it did not read all
            self._requests.close()
        self._answers.close()
        self._process.wait()


class DecodePool:
    """`decode_image` in `workers` processes. Whatever an image does to its worker, only that image fails."""

    def __init__(
        self,
        workers: int,
        *,
        timeout: float = 10.0,
        max_pixels: int = MAX_PIXELS,
        network_size: int | None = None,
    ) -> None:
        """`timeout` in seconds an image; memory follows from `max_pixels`; for `network_size` see `decode_image`.

        Raises `RuntimeError` when the workers do not work.
        """
        self._timeout = timeout
        self._memory_bytes = _SPARE_BYTES + _BYTES_PER_PIXEL * max_pixels
        self._options = {"max_pixels": max_pixels, "network_size": network_size}
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        started = [_Worker(self._memory_bytes) for _ in range(workers)]
        for worker in started:
            self._idle.put(worker)
        try:
            for worker in started:
                worker.decode(_PROBE, self._options, _START_SECONDS)
        except (_WorkerDiedError, DecodeError) as error:
            self.close()
            raise RuntimeError("the decode workers do not start") from error

    def decode(self, data: bytes | bytearray) -> Future[DecodedImage]:
        """The image to come. Cancelling works while it waits; afterwards the time limit bounds it."""
        return self._threads.submit(self._decode, data)

    def _decode(self, data: bytes | bytearray) -> DecodedImage:
        worker = self._idle.get()
        if not worker.alive:  # killed from outside between two images: no image's fault
            worker.close()
            worker = _Worker(self._memory_bytes)
        try:
            return worker.decode(data, self._options, self._timeout)
        except _WorkerDiedError as error:
            worker.close()
            worker = _Worker(self._memory_bytes)
            raise CorruptImageError("the image could not be decoded within the limits of time and memory") from error
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Drops what waits, lets running images finish, ends the workers."""
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().close()


def _limit_memory(extra_bytes: int) -> None:
    used = 0
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + extra_bytes, used + extra_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the patient's image
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _serve() -> None:
    """The worker: answers one request after the other until its standard input ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # a stray print must not garble the protocol
    _limit_memory(int(sys.argv[1]))
    while True:
        try:
            options, data = _receive(requests, max_payload=2**32)
        except EOFError:
            return
        try:
            image = decode_image(bytes(data), **options)
        except DecodeError as error:
            _send(answers, {"error": error.type, "message": str(error)}, b"")
            continue
        header = {field.name: getattr(image, field.name) for field in fields(image) if field.name != "pixels"}
        header |= {"dtype": image.pixels.dtype.name, "shape": image.pixels.shape}
        _send(answers, header, np.ascontiguousarray(image.pixels).data.cast("B"))


if __name__ == "__main__":
    _serve()
