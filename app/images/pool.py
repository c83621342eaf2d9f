"""Decode workers at work: images wait for one, a dead worker is replaced, and nobody waits for what nobody wants.

Ready-made pools were tried: `concurrent.futures` breaks as a whole when a worker dies, pebble 5.2 when an idle one
does.
"""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from app.images.decode import MAX_PIXELS, DecodedImage
from app.images.errors import CorruptImageError, ImageTooLargeError
from app.images.sandbox import Deadline, TimeLimitError, Worker, WorkerDiedError, WorkerStartError


class _Seat:
    """A place for one worker; at times there is none, or a dead one, in it."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self.worker: Worker | None = None

    def take(self) -> Worker:
        """The worker, alive when last seen. Raises `WorkerStartError` when there was none and none will start."""
        if self.worker is None or not self.worker.alive:
            self.clear()
            self.worker = Worker(self._max_pixels)
            self.worker.prove()
        return self.worker

    def clear(self) -> None:
        """Ends the worker."""
        if self.worker is not None:
            self.worker.close()
            self.worker = None


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
        """`timeout` in seconds an image; memory follows from `max_pixels`; for `network_size`, which may also be set
        before the first image, see `decode_image`.

        Raises `WorkerStartError`.
        """
        self.network_size = network_size
        self._timeout, self._max_pixels = timeout, max_pixels
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._seats: SimpleQueue[_Seat] = SimpleQueue()
        seats = [_Seat(max_pixels) for _ in range(workers)]
        for seat in seats:
            self._seats.put(seat)
        try:
            list(self._threads.map(_Seat.take, seats))  # they take a moment: all at once
        except WorkerStartError:
            self.close()
            raise

    def decode(self, data: bytes | bytearray) -> Future[DecodedImage]:
        """The image to come, or `DecodeError` or `WorkerStartError`. Cancelling works while it waits or is decoded."""
        answer: Future[DecodedImage] = Future()
        job = self._threads.submit(self._answer, data, answer)
        job.add_done_callback(lambda job: answer.cancel() if job.cancelled() else None)  # the pool was closed
        return answer

    def _answer(self, data: bytes | bytearray, answer: Future[DecodedImage]) -> None:
        if answer.cancelled():
            return
        seat = self._seats.get()
        try:
            image = self._decode(seat, data, answer)
        except Exception as error:
            with suppress(InvalidStateError):  # cancelled meanwhile
                answer.set_exception(error)
        else:
            with suppress(InvalidStateError):
                answer.set_result(image)
        finally:
            # A worker lost is replaced now, rather than on the next image's time; when that fails, then again.
            with suppress(WorkerStartError):
                seat.take()
            self._seats.put(seat)

    def _decode(self, seat: _Seat, data: bytes | bytearray, answer: Future[DecodedImage]) -> DecodedImage:
        """A worker that was killed from outside is no fault of the image: it gets a second one, but no third."""
        options: dict[str, Any] = {"max_pixels": self._max_pixels, "network_size": self.network_size}
        for _ in range(2):
            worker = seat.take()
            deadline = Deadline(self._timeout)
            answer.add_done_callback(deadline.hurry)  # done before the worker is: it was cancelled
            try:
                return worker.decode(data, options, deadline)
            except TimeLimitError as error:
                seat.clear()
                raise ImageTooLargeError("the image could not be decoded within the limits of time") from error
            except WorkerDiedError:
                seat.clear()
        raise CorruptImageError("every process that tried to decode the file ended")

    def close(self) -> None:
        """Drops what waits, lets running images finish, ends the workers."""
        self._threads.shutdown(cancel_futures=True)
        while not self._seats.empty():
            self._seats.get().clear()
