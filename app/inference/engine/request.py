"""A study on its way through the engine, and what it is answered with."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor

from app.inference.errors import DeadlineExceededError
from app.inference.network.encoder import Encoding
from app.inference.options import OPERATING_POINTS, DecodingOptions, OperatingPoint
from app.inference.search.beam_tables import TokenSequence


@dataclass(frozen=True, slots=True)
class Generation:
    """What the network made of one study: sequences best first, what it saw, and seconds spent.

    Preparing the images counts as encoding, so that the queue is nothing but waiting.
    """

    sequences: list[TokenSequence]
    encoding: Encoding
    queue_seconds: float
    encode_seconds: float
    generate_seconds: float


Refuse = Callable[[Encoding], Exception | None]


def refuse_none(encoding: Encoding) -> Exception | None:
    """Lets every study have its report."""
    return None


@dataclass(slots=True, eq=False)
class StudyRequest:
    """One study from the queue to its answer. Times are of `time.monotonic`; `views` resolves to f32[V,1,S,S];
    `refuse` says once it is encoded why no report is to be written of it; `point` decides what is present."""

    views: Future[Tensor]
    options: DecodingOptions
    deadline: float | None
    tag: object
    future: Future[Generation]
    queued_at: float
    refuse: Refuse = refuse_none
    point: OperatingPoint = OPERATING_POINTS[0]
    number: int = 0  # in the order of arrival, from 1
    ready_at: float = 0.0
    admitted_at: float = 0.0
    encoded_at: float = 0.0
    encoding: Encoding | None = None

    @property
    def waited(self) -> float:
        """Seconds between images that were ready and rows that were free."""
        return max(0.0, self.admitted_at - self.ready_at)

    def expire_if_due(self, now: float) -> bool:
        """Fails it once its deadline has passed. Returns whether it is answered: nobody waits for it any more."""
        if self.deadline is not None and now > self.deadline:
            self.fail(DeadlineExceededError("the deadline passed"))
        return self.future.done()

    def answer(self, sequences: list[TokenSequence], now: float) -> Generation:
        """Answers with what was found. The study must have been encoded."""
        assert self.encoding  # noqa: S101 (narrows the type)
        generation = Generation(
            sequences,
            self.encoding,
            queue_seconds=self.waited,
            encode_seconds=self.ready_at - self.queued_at + self.encoded_at - self.admitted_at,
            generate_seconds=now - self.encoded_at,
        )
        if not self.future.done():
            with suppress(InvalidStateError):  # lost a race with cancel()
                self.future.set_result(generation)
        return generation

    def fail(self, error: BaseException) -> None:
        """Answers with an error, unless cancelled or answered meanwhile."""
        if not self.future.done():
            with suppress(InvalidStateError):  # lost a race with cancel(): answered all the same
                self.future.set_exception(error)
