"""A process that decodes images under limits: a hostile file takes down its worker and nothing else.

A worker is a plain Python process spoken to over its standard streams, one at a time by one thread. Messages are a
JSON header and raw bytes, never pickle, so that a worker that was taken over cannot run code here.
"""

from __future__ import annotations

import base64
import fcntl
import importlib
import json
import os
import resource
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from app.images.decode import DecodedImage, decode_image
from app.images.errors import DecodeError, ImageTooLargeError

_FRAME = struct.Struct("!IQ")  # bytes of header, bytes of payload
_ERRORS = {error.type: error for error in DecodeError.__subclasses__()}
_ROOT = Path(__file__).parents[2]
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG")  # the rest of ours may hold secrets
# What decoding may take on top of a fresh worker: the worst case seen, 16 bits of RGB with a transparent colour, holds
# 17 bytes a pixel at once.
_SPARE_BYTES, _BYTES_PER_PIXEL = 2**26, 24
_START_SECONDS, _HURRY_SECONDS = 60.0, 0.5
_PROBE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)  # a PNG of one black pixel
_PIPE_BYTES = 2**20  # Linux's most for an unprivileged user; the default of 64 KiB costs a switch each


class WorkerDiedError(Exception):
    """The worker ended, or does not speak the protocol."""


class TimeLimitError(WorkerDiedError):
    """The worker was killed for taking too long."""


class WorkerStartError(Exception):
    """No decode worker can be started."""


def _send(stream: IO[bytes], header: dict[str, Any], payload: bytes | bytearray | memoryview) -> None:
    head = json.dumps(header).encode()
    stream.write(_FRAME.pack(len(head), len(payload)))
    stream.write(head)
    stream.write(payload)
    stream.flush()


def _receive(stream: IO[bytes], max_payload: int) -> tuple[dict[str, Any], memoryview]:
    """Raises `EOFError` when the other side is gone or says something else, `MemoryError` when its message is too long
    for what may be had, and was passed over."""
    frame = stream.read(_FRAME.size)
    if len(frame) < _FRAME.size:
        raise EOFError
    head_size, payload_size = _FRAME.unpack(frame)
    if head_size > 2**16 or payload_size > max_payload:
        raise EOFError
    header = json.loads(stream.read(head_size))
    try:
        payload = np.empty(payload_size, np.uint8).data  # not zeroed first, unlike a bytearray
    except MemoryError:
        for start in range(0, payload_size, _PIPE_BYTES):  # the next message comes behind it
            stream.read(min(_PIPE_BYTES, payload_size - start))
        raise
    if stream.readinto(payload) != payload_size:  # type: ignore[attr-defined]  # typeshed's IO lacks it
        raise EOFError
    return header, payload


class Alarm:
    """Calls `ring` when its time is up, unless it was stopped. Usable from any thread."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._stopped = False
        self.rang = False

    def set(self, seconds: float) -> None:
        """Sets or resets the time left; too late once stopped."""
        with self._lock:
            if self._stopped:
                return
            if self._timer:
                self._timer.cancel()
            self._timer = threading.Timer(seconds, self._go_off)
            self._timer.daemon = True
            self._timer.start()

    def hurry(self, _: object) -> None:
        """Leaves it a moment more: nobody waits for the result, but a new worker would take longer than most images."""
        self.set(_HURRY_SECONDS)

    def stop(self) -> None:
        """From now on it does not ring."""
        with self._lock:
            self._stopped = True
            if self._timer:
                self._timer.cancel()

    def _go_off(self) -> None:
        with self._lock:
            if not self._stopped:
                self.rang = True
                self._ring()


class Worker:
    """One decode process. Not thread-safe."""

    def __init__(self, max_pixels: int) -> None:
        """Starts the process; its memory limit follows from `max_pixels`. Raises `WorkerStartError`."""
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, sys.path)])
        environment["OPENBLAS_NUM_THREADS"] = "1"  # each thread reserves address space
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [sys.executable, "-m", __name__, str(_SPARE_BYTES + _BYTES_PER_PIXEL * max_pixels)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the server, which then lets its requests finish
            )
        except OSError as error:
            raise WorkerStartError(f"no decode worker can be started: {error.strerror}") from error
        self.pid = self._process.pid
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        for stream in (self._requests, self._answers):
            with suppress(OSError, AttributeError):  # less speed where it may not, or is not Linux
                fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def prove(self) -> None:
        """Waits until it works. Raises `WorkerStartError` when it does not."""
        alarm = Alarm(self.kill)
        alarm.set(_START_SECONDS)
        try:
            self.decode(_PROBE, {"max_pixels": 1, "network_size": None}, alarm)
        except (WorkerDiedError, DecodeError) as error:
            raise WorkerStartError("no decode worker can be started: a new one does not work") from error

    def decode(self, data: bytes | bytearray, options: dict[str, Any], alarm: Alarm) -> DecodedImage:
        """Decodes until `alarm`, which should kill this worker, rings: that ends a blocked write as well as a read.

        Raises what `decode_image` raises, `TimeLimitError` and `WorkerDiedError`.
        """
        try:
            _send(self._requests, options, data)
            header, payload = _receive(self._answers, max_payload=2 * options["max_pixels"])
            if "error" in header:
                raise _ERRORS[header["error"]](header["message"])
            pixels = np.frombuffer(payload, header.pop("dtype")).reshape(header.pop("shape"))
            listed = {name: tuple(header[name]) for name in ("region", "warnings")}
            packed = header["header"] and base64.b64decode(header["header"])
            return DecodedImage(pixels=pixels, **{**header, **listed, "header": packed})
        except DecodeError:
            raise
        except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
            self.kill()  # whatever it says next is not to be trusted
            raise (TimeLimitError if alarm.rang else WorkerDiedError) from error
        finally:
            alarm.stop()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends the process, at once."""
        self._process.kill()

    def close(self) -> None:
        """Ends the process and lets go of it."""
        self.kill()
        with suppress(BrokenPipeError):  # it did not read all
            self._requests.close()
        self._answers.close()
        self._process.wait()


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
    importlib.import_module("app.images.dicom.picture")  # now, rather than from the first DICOM file's time and memory
    _limit_memory(int(sys.argv[1]))
    while True:
        try:
            options, data = _receive(requests, max_payload=2**32)
            image = decode_image(bytes(data), **options)
        except EOFError:
            return
        except MemoryError:
            _send(answers, {"error": ImageTooLargeError.type, "message": "the file is too large for the memory"}, b"")
            continue
        except DecodeError as error:
            _send(answers, {"error": error.type, "message": str(error)}, b"")
            continue
        header = {field.name: getattr(image, field.name) for field in fields(image) if field.name != "pixels"}
        header |= {"dtype": image.pixels.dtype.name, "shape": image.pixels.shape}
        header["header"] = image.header and base64.b64encode(image.header).decode()
        _send(answers, header, np.ascontiguousarray(image.pixels).data.cast("B"))


if __name__ == "__main__":
    _serve()
