"""The engine: one thread owns the device and advances every study in flight, one beam step a turn.

A turn: drop what was cancelled or is late ▸ admit waiting studies into free rows, encoded together ▸ one beam step for
every lane ▸ hand out what finished. Studies join and leave between two steps; nobody waits for a batch-mate.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from app.inference.beam_search import BeamLane, Sequence
from app.inference.decoder import Decoder, LaneStep
from app.inference.options import MAX_BEAMS, DecodingOptions

logger = logging.getLogger(__name__)


class EngineFullError(Exception):
    """The queue is full. `retry_after` seconds from now there should be room, at the rate measured."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


class EngineStoppedError(Exception):
    """The engine is stopping, stopped or has failed."""


class DeadlineExceededError(Exception):
    """The study's deadline passed before its report was done."""


class GenerationError(Exception):
    """This study could not be generated; others are not concerned."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What the network made of one study: sequences best first, raw logits, and seconds spent.

    Preparing the images counts as encoding, so that the queue is nothing but waiting.
    """

    sequences: list[Sequence]
    finding_logits: list[float]
    view_logits: list[list[float]]
    queue_seconds: float
    encode_seconds: float
    generate_seconds: float


class Observer(Protocol):
    """Whoever counts what the engine does. Called on the engine's thread: must be quick and must not raise."""

    def queued(self, depth: int) -> None: ...
    def admitted(self, wait_seconds: float) -> None: ...
    def step(self, rows: int) -> None: ...
    def active(self, rows: int) -> None: ...
    def generated(self, tokens: int) -> None: ...
    def stage(self, name: str, seconds: float) -> None: ...
    def encoded(self, tags: list[object], seconds: float) -> None: ...


class _Silent:
    def queued(self, depth: int) -> None: ...
    def admitted(self, wait_seconds: float) -> None: ...
    def step(self, rows: int) -> None: ...
    def active(self, rows: int) -> None: ...
    def generated(self, tokens: int) -> None: ...
    def stage(self, name: str, seconds: float) -> None: ...
    def encoded(self, tags: list[object], seconds: float) -> None: ...


@dataclass(slots=True, eq=False)
class _Study:
    views: Future[Tensor]
    options: DecodingOptions
    deadline: float | None
    tag: object
    future: Future[Generation]
    queued_at: float
    ready_at: float = 0.0
    admitted_at: float = 0.0
    encoded_at: float = 0.0
    finding_logits: list[float] = field(default_factory=list)
    view_logits: list[list[float]] = field(default_factory=list)

    def gone(self, now: float) -> bool:
        """Whether nobody waits for it any more; answers the one who waited too long."""
        if self.future.done():
            return True
        if self.deadline is not None and now > self.deadline:
            _fail(self.future, DeadlineExceededError("the deadline passed"))
            return True
        return False


def _fail(future: Future[Generation], error: BaseException) -> None:
    """Answers a future that may have been cancelled or answered meanwhile."""
    if not future.done():
        with suppress(InvalidStateError):  # lost a race with cancel(): answered all the same
            future.set_exception(error)


@dataclass(slots=True)
class _Lane:
    """Studies of one width in flight: the search, the studies by slot, and the decoder's tensors by slot."""

    search: BeamLane
    capacity: int
    studies: list[_Study]
    constants: list[Tensor]
    state: list[Tensor]

    def inputs(self) -> LaneStep:
        """The next step's input."""
        n = len(self.studies)
        tokens, positions, ancestors = self.search.inputs()
        return LaneStep(tokens, positions, ancestors, [c[:n] for c in self.constants], [s[:n] for s in self.state])


class Engine:
    """Runs a scripted network by the checkpoint contract, with in-flight batching."""

    def __init__(
        self,
        module: torch.jit.ScriptModule,
        decoder: Decoder,
        *,
        device: torch.device,
        max_new_tokens: int,
        max_views: int,
        max_rows: int = 64,
        max_queue: int = 64,
        observer: Observer | None = None,
    ) -> None:
        """`module` encodes, `decoder` steps; `max_rows` beams in flight over all studies, `max_queue` waiting."""
        if max_rows < MAX_BEAMS:
            raise ValueError(f"max_rows must be at least {MAX_BEAMS}")
        self.device = device
        self.max_rows = max_rows
        self.max_queue = max_queue
        self._module = module
        self._decoder = decoder
        self._max_new_tokens = max_new_tokens
        self._max_views = max_views
        self._observer: Observer = observer or _Silent()
        self._lanes: dict[int, _Lane] = {}
        self._queue: deque[_Study] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._drain_until = math.inf
        self._seconds_per_study = 1.0
        self._last_finish = 0.0
        self._turn_began = math.inf
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the engine takes studies."""
        return self._thread.is_alive() and not self._stopping

    @property
    def queue_depth(self) -> int:
        """Studies waiting for rows."""
        return len(self._queue)

    @property
    def active_rows(self) -> int:
        """Beams in flight."""
        return sum(len(lane.studies) * width for width, lane in list(self._lanes.items()))

    @property
    def turn_seconds(self) -> float:
        """How long the turn at work has lasted; 0 while idle. A turn is one step: many seconds of it mean trouble."""
        return max(0.0, time.monotonic() - self._turn_began)

    def submit(
        self, views: Future[Tensor], options: DecodingOptions, deadline: float | None = None, tag: object = None
    ) -> Future[Generation]:
        """Queues a study. `views` resolves to f32[V,1,S,S]; `deadline` is a `time.monotonic` time; the observer learns
        by `tag` who was encoded together.

        Cancelling the returned future frees the study's rows at the next step. Raises `EngineFullError` at once when
        the queue is full and `EngineStoppedError` when the engine does not run.
        """
        study = _Study(views, options, deadline, tag, Future(), time.monotonic())
        with self._wake:
            if not self.alive:
                raise EngineStoppedError("the engine does not take studies")
            if len(self._queue) >= self.max_queue:
                raise EngineFullError(self.retry_after())
            self._queue.append(study)
            self._observer.queued(len(self._queue))
            self._wake.notify()  # its deadline may be the next
        views.add_done_callback(partial(self._prepared, study))
        study.future.add_done_callback(self._notify)
        return study.future

    def retry_after(self) -> float:
        """Seconds until the queue of now is worked off, at the rate of late."""
        return (len(self._queue) + 1) * self._seconds_per_study

    def close(self, drain_seconds: float = 0.0) -> None:
        """Takes no more studies, finishes those it has within `drain_seconds`, fails the rest, ends the thread."""
        with self._wake:
            self._stopping = True
            self._drain_until = time.monotonic() + drain_seconds
            self._wake.notify()
        self._thread.join()

    def _prepared(self, study: _Study, _: object) -> None:
        study.ready_at = time.monotonic()
        self._notify()

    def _notify(self, _: object = None) -> None:
        with self._wake:
            self._wake.notify()

    # Below, everything runs on the engine's thread.

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._turn():
                    pass
        except BaseException:
            logger.exception("the engine failed")
        finally:
            self._stopping = True
            self._fail_all(EngineStoppedError("the engine stopped"))

    def _turn(self) -> bool:
        self._turn_began = math.inf
        with self._wake:
            while not self._has_work() and time.monotonic() < self._drain_until:
                if self._stopping and not self._queue:
                    return False
                self._wake.wait(self._patience())
            if time.monotonic() >= self._drain_until:
                return False
            admitted = self._take()
            self._turn_began = time.monotonic()
        self._drop_gone()
        if admitted:
            self._encode(admitted)
        if lanes := [lane for lane in self._lanes.values() if lane.studies]:
            self._step(lanes)
        self._observer.active(self.active_rows)
        return True

    def _has_work(self) -> bool:
        now = time.monotonic()
        return any(lane.studies for lane in self._lanes.values()) or any(
            study.views.done() or study.gone(now) for study in self._queue
        )

    def _patience(self) -> float | None:
        """Seconds until the next deadline of a study whose images are still being prepared."""
        deadlines = [study.deadline for study in self._queue if study.deadline is not None]
        if self._stopping:
            deadlines.append(self._drain_until)
        return max(0.0, min(deadlines) - time.monotonic()) + 1e-3 if deadlines else None

    def _take(self) -> list[_Study]:
        """Studies that fit the free rows, first come first served among those whose images are ready."""
        now = time.monotonic()
        free = self.max_rows - self.active_rows
        taken: list[_Study] = []
        waiting: deque[_Study] = deque()
        for study in self._queue:
            if study.gone(now):
                continue
            # A study that does not fit holds back those behind it, or a wide one would wait for ever.
            if study.views.done() and study.options.num_beams <= free:
                free -= study.options.num_beams
                study.admitted_at = now
                taken.append(study)
            else:
                if study.views.done():
                    free = 0
                waiting.append(study)
        self._queue = waiting
        self._observer.queued(len(waiting))
        return taken

    def _drop_gone(self) -> None:
        now = time.monotonic()
        for lane in self._lanes.values():
            for slot in range(len(lane.studies) - 1, -1, -1):
                if lane.studies[slot].gone(now):
                    self._release(lane, slot)

    def _encode(self, studies: list[_Study]) -> None:
        """Encodes studies together; when that fails, one by one, so that a bad study fails alone."""
        try:
            views = [study.views.result() for study in studies]
            joined = self._begin(views)
        except Exception as error:
            if len(studies) > 1:
                for study in studies:
                    self._encode([study])
            else:
                logger.warning("a study could not be encoded: %s", type(error).__name__)
                _fail(studies[0].future, GenerationError("the study could not be encoded"))
            return
        findings, view_logits, constants = joined
        kept = self._decoder.prepare(constants)
        now = time.monotonic()
        self._observer.stage("encode", now - studies[0].admitted_at)
        self._observer.encoded([study.tag for study in studies], now - studies[0].admitted_at)
        for i, study in enumerate(studies):
            study.encoded_at = now
            study.finding_logits = findings[i].tolist()
            study.view_logits = view_logits[i, : len(views[i])].tolist()
            self._observer.admitted(max(0.0, study.admitted_at - study.ready_at))
            if not all(map(math.isfinite, study.finding_logits)):
                _fail(study.future, GenerationError("the network gave no number"))
                continue
            self._admit(study, [constant[i] for constant in kept])

    def _begin(self, views: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Finding logits f32[N,F], view logits f32[N,V,2], decoder constants of studies with up to V views each."""
        mask = torch.zeros(len(views), self._max_views, dtype=torch.bool, device=self.device)
        for i, images in enumerate(views):
            mask[i, : len(images)] = True
        encoded = self._module.encode(torch.cat(views).to(self.device))
        spread = []
        for part in encoded:
            room = part.new_zeros(mask.shape + part.shape[1:])
            room[mask] = part
            spread.append(room)
        findings, constants = self._module.begin(spread[0], spread[1], spread[2], mask)
        return findings, spread[2], constants

    def _admit(self, study: _Study, constants: list[Tensor]) -> None:
        lane = self._lane_with_room(study.options.num_beams, constants)
        slot = lane.search.admit(study.options)
        for table, row in zip(lane.constants, constants, strict=True):
            table[slot] = row
        lane.studies.append(study)

    def _lane_with_room(self, beams: int, constants: list[Tensor]) -> _Lane:
        """The lane of this width; its tensors double when full, up to what the row budget can fill."""
        lane = self._lanes.get(beams)
        if lane is not None and len(lane.studies) < lane.capacity:
            return lane
        capacity = min(self.max_rows // beams, 2 * lane.capacity if lane else 4)
        search = BeamLane(beams, capacity, self._max_new_tokens, self.device)
        state = self._decoder.allocate(capacity, beams, self._max_new_tokens)
        tables = [row.new_zeros((capacity, *row.shape)) for row in constants]
        grown = _Lane(search, capacity, [], tables, state)
        if lane is not None:
            search.adopt(lane.search)
            grown.studies = lane.studies
            for new, old in zip(tables + state, lane.constants + lane.state, strict=True):
                new[: len(old)] = old
        self._lanes[beams] = grown
        return grown

    def _step(self, lanes: list[_Lane]) -> None:
        """One beam step for all lanes; when that fails, lane by lane, so that a bad one fails alone."""
        started = time.monotonic()
        try:
            logits = self._decoder.step([lane.inputs() for lane in lanes])
        except Exception as error:
            if len(lanes) > 1:
                for lane in lanes:
                    self._step([lane])
            else:
                logger.warning("a step of %d studies failed: %s", len(lanes[0].studies), type(error).__name__)
                self._end(lanes[0], range(len(lanes[0].studies)), "the report could not be generated")
            return
        rows = sum(len(lane.studies) * lane.search.beams for lane in lanes)
        for lane, lane_logits in zip(lanes, logits, strict=True):
            broken = lane_logits.isnan().flatten(1).any(1)
            finished = lane.search.advance(lane_logits)
            bad = broken.nonzero()[:, 0].tolist()
            for slot in set(finished) - set(bad):
                self._finish(lane, slot)
            self._end(lane, {*finished, *bad}, "the network gave no number")
        self._observer.step(rows)
        self._observer.stage("step", time.monotonic() - started)

    def _end(self, lane: _Lane, slots: Iterable[int], otherwise: str) -> None:
        """Frees slots; a study in them that was not answered fails with what `otherwise` says."""
        for slot in sorted(slots, reverse=True):
            _fail(lane.studies[slot].future, GenerationError(otherwise))
            self._release(lane, slot)

    def _finish(self, lane: _Lane, slot: int) -> None:
        study = lane.studies[slot]
        sequences = lane.search.sequences(slot)
        now = time.monotonic()
        generation = Generation(
            sequences,
            study.finding_logits,
            study.view_logits,
            queue_seconds=max(0.0, study.admitted_at - study.ready_at),
            encode_seconds=study.ready_at - study.queued_at + study.encoded_at - study.admitted_at,
            generate_seconds=now - study.encoded_at,
        )
        # The rate is of finishes while busy: a pause before this study was queued says nothing about it.
        since = max(self._last_finish, study.queued_at)
        self._seconds_per_study += 0.1 * (now - since - self._seconds_per_study)
        self._last_finish = now
        self._observer.generated(len(sequences[0].ids))
        self._observer.stage("generate", generation.generate_seconds)
        if not study.future.done():
            with suppress(InvalidStateError):  # lost a race with cancel()
                study.future.set_result(generation)

    def _release(self, lane: _Lane, slot: int) -> None:
        """Frees a slot; the last study moves into it, in every tensor."""
        last = lane.search.remove(slot)
        for table in lane.constants + lane.state:
            if slot != last:
                table[slot] = table[last]
        lane.studies[slot] = lane.studies[last]
        lane.studies.pop()

    def _fail_all(self, error: Exception) -> None:
        with self._wake:
            studies: Iterable[_Study] = [*self._queue, *(s for lane in self._lanes.values() for s in lane.studies)]
            self._queue.clear()
            self._lanes.clear()
        for study in studies:
            _fail(study.future, error)
