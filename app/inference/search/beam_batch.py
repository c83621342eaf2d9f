"""What the engine moves: studies, and the lanes in which studies of one beam width advance together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor

from app.inference.errors import DeadlineExceededError, GenerationError
from app.inference.network.decoder import Decoder, LaneStep
from app.inference.network.encoder import Encoding
from app.inference.options import DecodingOptions
from app.inference.search.beam_search import BeamLane, Sequence, move

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Generation:
    """What the network made of one study: sequences best first, what it saw, and seconds spent.

    Preparing the images counts as encoding, so that the queue is nothing but waiting.
    """

    sequences: list[Sequence]
    encoding: Encoding
    queue_seconds: float
    encode_seconds: float
    generate_seconds: float


Refuse = Callable[[Encoding], Exception | None]


def refuse_none(encoding: Encoding) -> Exception | None:
    """Lets every study have its report."""
    return None


@dataclass(slots=True, eq=False)
class Study:
    """One study from the queue to its answer. Times are of `time.monotonic`; `views` resolves to f32[V,1,S,S];
    `refuse` says once it is encoded why no report is to be written of it."""

    views: Future[Tensor]
    options: DecodingOptions
    deadline: float | None
    tag: object
    future: Future[Generation]
    queued_at: float
    refuse: Refuse = refuse_none
    ready_at: float = 0.0
    admitted_at: float = 0.0
    encoded_at: float = 0.0
    encoding: Encoding | None = None

    @property
    def waited(self) -> float:
        """Seconds between images that were ready and rows that were free."""
        return max(0.0, self.admitted_at - self.ready_at)

    def gone(self, now: float) -> bool:
        """Whether nobody waits for it any more; answers the one who waited too long."""
        if self.deadline is not None and now > self.deadline:
            self.fail(DeadlineExceededError("the deadline passed"))
        return self.future.done()

    def answer(self, sequences: list[Sequence], now: float) -> Generation:
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


class Lane:
    """Studies of one width in flight: the search, the studies by slot, and the decoder's tensors by slot."""

    def __init__(self, decoder: Decoder, beams: int, capacity: int, max_tokens: int, constants: list[Tensor]) -> None:
        """Room for `capacity` studies; `constants` are those of one of them, for their shapes."""
        self.capacity = capacity
        self.studies: list[Study] = []
        self.search = BeamLane(beams, capacity, max_tokens, constants[0].device)
        self._constants = [row.new_zeros((capacity, *row.shape)) for row in constants]
        self._state = decoder.allocate(capacity, beams, max_tokens)

    @property
    def rows(self) -> int:
        """Beams in flight."""
        return len(self.studies) * self.search.beams

    def adopt(self, other: Lane) -> None:
        """Takes over the studies of a smaller lane."""
        self.search.adopt(other.search)
        self.studies = other.studies
        for new, old in zip(self._constants + self._state, other._constants + other._state, strict=True):
            new[: len(old)] = old

    def admit(self, studies: list[Study], constants: list[Tensor]) -> None:
        """Starts studies in the next slots; `constants` have a row for each."""
        first = len(self.studies)
        for table, rows in zip(self._constants, constants, strict=True):
            table[first : first + len(studies)] = rows
        self.search.admit([study.options for study in studies])
        self.studies = self.studies + studies

    def release(self, slots: Iterable[int]) -> None:
        """Frees slots; the last studies move into them, in every tensor."""
        kept = self.search.release(slots)
        move(self._constants + self._state, kept)
        self.studies = [self.studies[slot] for slot in kept]

    def clean(self, slot: int) -> None:
        """Forgets a slot's state: a cache that holds what is not a number would give it to the next study."""
        for table in self._state:
            table[slot] = 0

    def inputs(self, slots: int | None = None) -> LaneStep:
        """The next step's input; of the first `slots` slots rather than of those taken."""
        n = slots or len(self.studies)
        tokens, positions, ancestors = self.search.inputs(slots)
        return LaneStep(tokens, positions, ancestors, [c[:n] for c in self._constants], [s[:n] for s in self._state])

    def advance(self, logits: Tensor) -> None:
        """One step of the search with `logits` f32[N,K,V]; what came of it is `search.outcome`."""
        self.search.choose(logits)
        self.search.steps += 1

    @property
    def tables(self) -> list[Tensor]:
        """What a step writes, but for keys and values: places of the cache taken in vain are free again."""
        return [*self.search.tables, *self._state[1:]]


class Lanes:
    """The lanes of all widths."""

    def __init__(self, decoder: Decoder, max_rows: int, max_tokens: int, *, fixed: bool) -> None:
        """Room for `max_rows` beams of `max_tokens`. Lanes double when full, unless they are to stay where they are."""
        self._decoder, self._max_rows, self._max_tokens, self._fixed = decoder, max_rows, max_tokens, fixed
        self._by_width: dict[int, Lane] = {}

    def __iter__(self) -> Iterator[Lane]:
        """Those with studies in flight. Threads that ask for `rows` may come upon a new one."""
        return iter([lane for lane in list(self._by_width.values()) if lane.studies])

    @property
    def rows(self) -> int:
        """Beams in flight."""
        return sum(lane.rows for lane in self)

    def admit(self, studies: list[Study], constants: list[Tensor], rows: list[int]) -> None:
        """Starts studies of one width, whose constants are in these rows. A lane that cannot grow fails who is left."""
        while studies:
            try:
                lane = self._with_room(studies[0].options.num_beams, [constant[rows[0]] for constant in constants])
                room = lane.capacity - len(lane.studies)
                lane.admit(studies[:room], [constant[rows[:room]] for constant in constants])
            except Exception as error:  # no memory
                logger.warning("%d studies could not be admitted: %s", len(studies), type(error).__name__)
                for study in studies:
                    study.fail(GenerationError("the report could not be generated"))
                return
            studies, rows = studies[room:], rows[room:]

    def clear(self) -> list[Study]:
        """Forgets all lanes, and returns the studies that were in them."""
        studies = [study for lane in self for study in lane.studies]
        self._by_width.clear()
        return studies

    def _with_room(self, beams: int, constants: list[Tensor]) -> Lane:
        lane = self._by_width.get(beams)
        if lane is not None and len(lane.studies) < lane.capacity:
            return lane
        first = self._max_rows if self._fixed else 4
        capacity = min(self._max_rows // beams, 2 * lane.capacity if lane else first)
        grown = Lane(self._decoder, beams, capacity, self._max_tokens, constants)
        if lane is not None:
            grown.adopt(lane)
        self._by_width[beams] = grown
        return grown
