"""The engine: one thread owns the device and advances every study in flight, one beam step a turn.

A turn (`_turn`): wait for work ▸ take waiting studies that fit the free rows ▸ drop who was cancelled or is late ▸ let
the new ones be encoded together, beside what follows ▸ give encoded ones their slots ▸ one beam step for every lane ▸
hand out what finished. Studies join and leave between two steps; nobody waits for a batch-mate.

A lane holds the studies of one beam width in slots 0 to N-1 of shared tensors. The decoder steps all lanes at once, the
search chooses each lane's tokens; a freed slot is filled by the last study. Whatever raises fails the studies concerned
and nobody else, and every future is answered whatever happens.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

import torch
from torch import Tensor

from app.inference.beam_search import Sequence
from app.inference.decoder import Decoder
from app.inference.encoder import Encoding, StudyEncoder
from app.inference.encoding_thread import EncodedStudies, EncodingThread
from app.inference.lane import Generation, Lane, Study
from app.inference.lane_graphs import STEPS, LaneGraphs
from app.inference.observer import Observer, Silent
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


class Engine:
    """Runs encoder and decoder with in-flight batching."""

    def __init__(
        self,
        encoder: StudyEncoder,
        decoder: Decoder,
        *,
        max_new_tokens: int,
        max_rows: int = 64,
        max_queue: int = 64,
        observer: Observer | None = None,
        graphs: LaneGraphs | None = None,
        refuse: Callable[[Encoding], Exception | None] = lambda encoding: None,
    ) -> None:
        """`max_rows` beams in flight over all studies, `max_queue` studies waiting. With `graphs` lanes are stepped by
        these, each by itself; `refuse` says of a study that was encoded why no report is to be written of it."""
        if max_rows < MAX_BEAMS:
            raise ValueError(f"max_rows must be at least {MAX_BEAMS}")
        self.max_rows = max_rows
        self.max_queue = max_queue
        self._encoder = encoder
        self._decoder = decoder
        self._graphs = graphs
        self._max_new_tokens = max_new_tokens
        self._observer: Observer = observer or Silent()
        self._refuse = refuse
        self._lanes: dict[int, Lane] = {}
        self._queue: deque[Study] = deque()
        self._wake = threading.Condition()
        self._encoding = EncodingThread(encoder, decoder, self._notify)
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
        return sum(lane.rows for lane in list(self._lanes.values()))

    @property
    def turn_seconds(self) -> float:
        """How long the turn or the encoding at work has lasted; 0 while idle: many seconds of it mean trouble."""
        return max(0.0, time.monotonic() - min(self._turn_began, self._encoding.began))

    def submit(
        self, views: Future[Tensor], options: DecodingOptions, deadline: float | None = None, tag: object = None
    ) -> Future[Generation]:
        """Queues a study. `views` resolves to f32[V,1,S,S]; `deadline` is a `time.monotonic` time; the observer learns
        by `tag` who was encoded together.

        Cancelling the returned future frees the study's rows at the next step. Raises `EngineFullError` at once when
        the queue is full and `EngineStoppedError` when the engine does not run.
        """
        study = Study(views, options, deadline, tag, Future(), time.monotonic())
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

    def _prepared(self, study: Study, _: object) -> None:
        study.ready_at = time.monotonic()
        self._notify()

    def _notify(self, _: object = None) -> None:
        with self._wake:
            self._wake.notify()

    # Below, everything runs on the engine's thread.

    def _run(self) -> None:
        try:
            torch.set_num_threads(torch.get_num_threads())  # OpenMP keeps the number thread by thread
            with torch.inference_mode():
                while self._turn():
                    pass
        except BaseException:
            logger.exception("the engine failed")
        finally:
            self._stopping = True
            self._encoding.close()
            self._fail_all(EngineStoppedError("the engine stopped"))

    def _turn(self) -> bool:
        self._turn_began = math.inf
        with self._wake:
            while not self._has_work() and time.monotonic() < self._drain_until:
                if self._stopping and not self._queue and not self._encoding.studies:
                    return False
                self._wake.wait(self._patience())
            if time.monotonic() >= self._drain_until:
                return False
            taken = self._take()
            self._turn_began = time.monotonic()
        self._drop_gone()
        if taken:
            self._encoding.start(taken)
        if self._encoding.ready:
            self._admit(self._encoding.take())
        if lanes := [lane for lane in self._lanes.values() if lane.studies]:
            self._step(lanes)
        self._observer.active(self.active_rows)
        return True

    def _has_work(self) -> bool:
        now = time.monotonic()
        if self._encoding.ready or any(lane.studies for lane in self._lanes.values()):
            return True
        idle = not self._encoding.studies
        return any((idle and study.views.done()) or self._gone(study, now) for study in self._queue)

    def _patience(self) -> float | None:
        """Seconds until the next deadline of a study whose images are still being prepared."""
        deadlines = [study.deadline for study in self._queue if study.deadline is not None]
        if self._stopping:
            deadlines.append(self._drain_until)
        return max(0.0, min(deadlines) - time.monotonic()) + 1e-3 if deadlines else None

    def _take(self) -> list[Study]:
        """Studies that fit the free rows, first come first served among those whose images are ready.

        One batch at a time, of no more images than are encoded together.
        """
        now = time.monotonic()
        free = self.max_rows - self.active_rows
        images = 0 if self._encoding.studies else self._encoder.max_images
        taken: list[Study] = []
        waiting: deque[Study] = deque()
        for study in self._queue:
            if self._gone(study, now):
                continue
            ready = study.views.done()
            if ready and images > 0 and study.options.num_beams <= free:
                free -= study.options.num_beams
                images -= 1 if study.views.exception() else len(study.views.result())
                study.admitted_at = now
                taken.append(study)
            else:
                # A study that does not fit holds back those behind it, or a wide one would wait for ever.
                if ready:
                    free = 0
                waiting.append(study)
        self._queue = waiting
        self._observer.queued(len(waiting))
        return taken

    def _gone(self, study: Study, now: float) -> bool:
        """Whether nobody waits for it any more; answers the one who waited too long."""
        if study.deadline is not None and now > study.deadline:
            study.fail(DeadlineExceededError("the deadline passed"))
        return study.future.done()

    def _drop_gone(self) -> None:
        now = time.monotonic()
        for lane in self._lanes.values():
            if gone := [slot for slot, study in enumerate(lane.studies) if self._gone(study, now)]:
                lane.release(gone)

    def _admit(self, found: EncodedStudies | Study | None) -> None:
        """Gives encoded studies their slots, but for those of which no report is to be written."""
        if isinstance(found, Study):
            found.fail(GenerationError("the study could not be encoded"))
        if not isinstance(found, EncodedStudies):
            logger.warning("%s could not be encoded", "a study" if found else "studies together")
            return
        self._observer.stage("encode", found.seconds)
        self._observer.encoded([study.tag for study in found.studies], found.seconds)
        for i, study in enumerate(found.studies):
            if self._gone(study, time.monotonic()):
                continue
            study.encoded_at = found.finished_at
            study.encoding = found.encodings[i]
            self._observer.admitted(study.waited)
            if not all(map(math.isfinite, study.encoding.finding_logits)):
                study.fail(GenerationError("the network gave no number"))
                continue
            if refusal := self._refuse(study.encoding):
                study.fail(refusal)
                continue
            try:
                constants = [constant[i] for constant in found.constants]
                self._lane_with_room(study.options.num_beams, constants).admit(study, constants)
            except Exception as error:  # no memory for a larger lane
                logger.warning("a study could not be admitted: %s", type(error).__name__)
                study.fail(GenerationError("the report could not be generated"))

    def _lane_with_room(self, beams: int, constants: list[Tensor]) -> Lane:
        """The lane of this width; its tensors double when full, up to what the row budget can fill."""
        lane = self._lanes.get(beams)
        if lane is not None and len(lane.studies) < lane.capacity:
            return lane
        first = self.max_rows if self._graphs else 4  # what is recorded stays where it is
        capacity = min(self.max_rows // beams, 2 * lane.capacity if lane else first)
        grown = Lane(self._decoder, beams, capacity, self._max_new_tokens, constants)
        if lane is not None:
            grown.adopt(lane)
        self._lanes[beams] = grown
        return grown

    def _step(self, lanes: list[Lane]) -> None:
        """A step for all lanes; when that fails, lane by lane, so that a bad one fails alone."""
        started = time.monotonic()
        try:
            if self._graphs is None:
                logits = self._decoder.step([lane.inputs() for lane in lanes])
                advances = [partial(lane.advance, own) for lane, own in zip(lanes, logits, strict=True)]
            else:
                advances = [partial(self._replay, lane) for lane in lanes]
        except Exception as error:
            if len(lanes) > 1:
                for lane in lanes:
                    self._step([lane])
            else:
                self._fail_lane(lanes[0], error)
            return
        self._observer.step(sum(lane.rows for lane in lanes))
        for lane, advance in zip(lanes, advances, strict=True):
            try:
                advance()
                self._harvest(lane)  # a GPU reports what failed only when it is asked
            except Exception as error:
                self._fail_lane(lane, error)
        self._observer.stage("step", time.monotonic() - started)

    def _replay(self, lane: Lane) -> None:
        assert self._graphs  # noqa: S101 (narrows the type)
        for _ in range(STEPS):
            self._graphs.step(lane)

    def _harvest(self, lane: Lane) -> None:
        over, broken = lane.search.outcome()
        for slot in over:
            if slot not in broken:
                self._finish(lane.studies[slot], lane.search.sequences(slot))
        for slot in broken:
            lane.clean(slot)
        self._end(lane, {*over, *broken}, "the network gave no number")

    def _fail_lane(self, lane: Lane, error: Exception) -> None:
        logger.warning("a step of %d studies failed: %s", len(lane.studies), type(error).__name__)
        self._end(lane, set(range(len(lane.studies))), "the report could not be generated")

    def _end(self, lane: Lane, slots: set[int], otherwise: str) -> None:
        """Frees slots; studies that were not answered fail with what `otherwise` says."""
        if slots:
            for slot in slots:
                lane.studies[slot].fail(GenerationError(otherwise))
            lane.release(slots)

    def _finish(self, study: Study, sequences: list[Sequence]) -> None:
        now = time.monotonic()
        generation = study.answer(sequences, now)
        # The rate is of finishes while busy: a pause before this study was queued says nothing about it.
        since = max(self._last_finish, study.queued_at)
        self._seconds_per_study += 0.1 * (now - since - self._seconds_per_study)
        self._last_finish = now
        self._observer.generated(len(sequences[0].ids))
        self._observer.stage("generate", generation.generate_seconds)

    def _fail_all(self, error: Exception) -> None:
        with self._wake:
            flying = (study for lane in self._lanes.values() for study in lane.studies)
            studies = [*self._queue, *self._encoding.studies, *flying]
            self._queue.clear()
            self._lanes.clear()
        for study in studies:
            study.fail(error)
