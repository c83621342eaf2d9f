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
import select
import struct
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, Protocol, cast

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
_GLANCE_SECONDS = 0.1  # after which a deadline that was moved is seen
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


class _Stream(Protocol):
    """What messages go over."""

    def write(self, data: bytes | bytearray | memoryview, /) -> object: ...

    def flush(self) -> object: ...

    def read(self, size: int, /) -> bytes: ...

    def readinto(self, buffer: memoryview, /) -> int: ...


def _send(stream: _Stream, header: dict[str, Any], payload: bytes | bytearray | memoryview) -> None:
    head = json.dumps(header).encode()
    stream.write(_FRAME.pack(len(head), len(payload)) + head)
    stream.write(payload)
    stream.flush()


def _receive(stream: _Stream, max_payload: int) -> tuple[dict[str, Any], memoryview]:
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
    if stream.readinto(payload) != payload_size:
        raise EOFError
    return header, payload


class Deadline:
    """How long a worker may take. It may be moved while another thread waits by it."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def hurry(self, _: object) -> None:
        """Leaves it a moment more: nobody waits for the result, but a new worker would take longer than most images."""
        self._at = min(self._at, time.monotonic() + _HURRY_SECONDS)

    def wait(self, poller: select.poll) -> None:
        """Until what is polled is ready. Raises `TimeLimitError`."""
        while (left := self._at - time.monotonic()) > 0:
            if poller.poll(1e3 * min(left, _GLANCE_SECONDS)):
                return
        raise TimeLimitError


class _Pipe:
    """This end of a worker's pipe: whole messages or, when the deadline comes first, `TimeLimitError`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._number = file.fileno()
        self._poller = select.poll()
        self._poller.register(self._number, select.POLLOUT if file.writable() else select.POLLIN)
        self.deadline = Deadline(0.0)
        os.set_blocking(self._number, False)
        with suppress(OSError, AttributeError):  # less speed where it may not, or is not Linux
            fcntl.fcntl(self._number, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._number, rest) :]
            except BlockingIOError:
                self.deadline.wait(self._poller)

    def flush(self) -> None:
        """Nothing is kept back."""

    def read(self, size: int, /) -> bytes:
        data = memoryview(bytearray(size))
        return bytes(data[: self.readinto(data)])

    def readinto(self, buffer: memoryview, /) -> int:
        done = 0
        while done < len(buffer):
            try:
                count = os.readv(self._number, [buffer[done:]])
            except BlockingIOError:
                self.deadline.wait(self._poller)
                continue
            if not count:  # the other side is gone
                break
            done += count
        return done

    def close(self) -> None:
        self._file.close()


def import_path() -> str:
    """What `PYTHONPATH` has to be for another process, started with `-P`, to import what this one does."""
    return os.pathsep.join([str(_ROOT), *filter(None, sys.path)])


class Worker:
    """One decode process. Not thread-safe."""

    def __init__(self, max_pixels: int) -> None:
        """Starts the process; its memory limit follows from `max_pixels`. Raises `WorkerStartError`."""
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = import_path()
        environment["OPENBLAS_NUM_THREADS"] = "1"  # each thread reserves address space
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [sys.executable, "-P", "-m", __name__, str(_SPARE_BYTES + _BYTES_PER_PIXEL * max_pixels)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=environment,
                # Ctrl-C is for the server, which then lets its requests finish. Not a session: among those Linux
                # shares out the processors, and whoever waits in the server's would wait for all the others.
                process_group=0,
            )
        except OSError as error:
            raise WorkerStartError(f"no decode worker can be started: {error.strerror}") from error
        self.pid = self._process.pid
        self._requests = _Pipe(cast(IO[bytes], self._process.stdin))
        self._answers = _Pipe(cast(IO[bytes], self._process.stdout))

    def prove(self) -> None:
        """Waits until it works. Raises `WorkerStartError` when it does not."""
        try:
            self.decode(_PROBE, {"max_pixels": 1, "network_size": None}, Deadline(_START_SECONDS))
        except (WorkerDiedError, DecodeError) as error:
            raise WorkerStartError("no decode worker can be started: a new one does not work") from error

    def decode(self, data: bytes | bytearray, options: dict[str, Any], deadline: Deadline) -> DecodedImage:
        """Decodes until the deadline, at which the worker is killed.

        Raises what `decode_image` raises, `TimeLimitError` and `WorkerDiedError`.
        """
        self._requests.deadline = self._answers.deadline = deadline
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
        except TimeLimitError:
            self.kill()
            raise
        except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
            self.kill()  # whatever it says next is not to be trusted
            raise WorkerDiedError from error

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
    requests, answers = cast(_Stream, sys.stdin.buffer), os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    importlib.import_module("app.images.dicom.picture")  # now, rather than from the first DICOM file's time and memory
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  # what decoders print must garble neither protocol nor log
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere.fileno(), stream.fileno())
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
