"""The engine: one thread owns the device and advances every study in flight, one beam step a turn.

A turn (`_turn`): wait for work ▸ take waiting studies that fit the free rows ▸ drop who was cancelled or is late ▸ let
the new ones be encoded, on a CPU beside what follows ▸ give encoded ones their slots, unless they are refused ▸ one
beam step for every beam batch ▸ hand out what finished. Studies join and leave between two steps; nobody waits for a
batch-mate.

A beam batch holds the studies of one beam width in slots 0 to N-1 of shared tensors. The decoder steps all batches at
once, the search chooses each batch's tokens; a freed slot is filled by the last study. Whatever raises fails the
studies concerned and nobody else, and every future is answered whatever happens.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import defaultdict
from concurrent.futures import Future
from functools import partial

import torch
from torch import Tensor

from app.inference.engine.beam_batches import BeamBatches
from app.inference.engine.encoding_thread import EncodedStudies, EncodingThread
from app.inference.engine.observer import Observer, Silent
from app.inference.engine.request import Generation, Refuse, StudyRequest, refuse_none
from app.inference.engine.step_graphs import StepGraphs
from app.inference.engine.stepper import Stepper
from app.inference.engine.study_queue import StudyQueue
from app.inference.errors import EngineStoppedError, GenerationError
from app.inference.network.decoder import Decoder
from app.inference.network.encoder import StudyEncoder
from app.inference.options import MAX_BEAMS, OPERATING_POINTS, DecodingOptions, OperatingPoint

logger = logging.getLogger(__name__)


class Engine:
    """Runs encoder and decoder with in-flight batching."""

    def __init__(
        self,
        encoder: StudyEncoder,
        decoder: Decoder,
        *,
        max_new_tokens: int,
        max_rows: int,
        max_queue: int,
        observer: Observer | None = None,
        graphs: StepGraphs | None = None,
    ) -> None:
        """`max_rows` beams in flight over all studies, `max_queue` studies waiting. With `graphs` beam batches are
        stepped by these, each by itself."""
        if max_rows < MAX_BEAMS:
            raise ValueError(f"max_rows must be at least {MAX_BEAMS}")
        self.max_rows = max_rows
        self._encoder = encoder
        self._observer: Observer = observer or Silent()
        self._batches = BeamBatches(decoder, max_rows, max_new_tokens, fixed=graphs is not None)
        self._queue = StudyQueue(max_queue)
        self._stepper = Stepper(decoder, graphs, self._observer, self._queue.finished)
        self._wake = threading.Condition()
        self._encoding_thread = EncodingThread(encoder, decoder, self._notify)
        self._stopping = False
        self._drain_until = math.inf
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
        return self._batches.rows

    @property
    def turn_seconds(self) -> float:
        """How long the turn or the encoding at work has lasted; 0 while idle: many seconds of it mean trouble."""
        return max(0.0, time.monotonic() - min(self._turn_began, self._encoding_thread.began))

    def submit(
        self,
        views: Future[Tensor],
        options: DecodingOptions,
        deadline: float | None = None,
        tag: object = None,
        refuse: Refuse = refuse_none,
        point: OperatingPoint = OPERATING_POINTS[0],
    ) -> Future[Generation]:
        """Queues a study. `views` resolves to f32[V,1,S,S]; `deadline` is a `time.monotonic` time; the observer learns
        by `tag` who was encoded together; `refuse` says once it is encoded why no report is to be written of it;
        `point` decides what is present.

        Cancelling the returned future frees the study's rows at the next step. Raises `EngineFullError` at once when
        the queue is full and `EngineStoppedError` when the engine does not run.
        """
        study = StudyRequest(views, options, deadline, tag, Future(), time.monotonic(), refuse, point)
        with self._wake:
            if not self.alive:
                raise EngineStoppedError("the engine does not take studies")
            self._queue.add(study)
            self._observer.queued(len(self._queue))
            self._wake.notify()  # its deadline may be the next
        views.add_done_callback(partial(self._prepared, study))
        study.future.add_done_callback(partial(self._answered, study))
        return study.future

    def retry_after(self) -> float:
        """Seconds until the queue of now is worked off, at the rate of late."""
        return self._queue.retry_after()

    def close(self, drain_seconds: float = 0.0) -> None:
        """Takes no more studies, finishes those it has within `drain_seconds`, fails the rest, ends the thread."""
        with self._wake:
            self._stopping = True
            self._drain_until = time.monotonic() + drain_seconds
            self._wake.notify()
        self._thread.join()

    def _prepared(self, study: StudyRequest, _: object) -> None:
        study.ready_at = time.monotonic()
        with self._wake:
            self._queue.ready(study)
            self._wake.notify()

    def _answered(self, study: StudyRequest, _: object) -> None:
        """Or cancelled, which is when it may still be in the queue."""
        with self._wake:
            if self._queue.drop(study):
                self._observer.queued(len(self._queue))
            self._wake.notify()

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
            self._encoding_thread.close()
            self._fail_all(EngineStoppedError("the engine stopped"))

    def _turn(self) -> bool:
        self._turn_began = math.inf
        with self._wake:
            while not self._has_work() and time.monotonic() < self._drain_until:
                if self._stopping and not self._queue and not self._encoding_thread.studies:
                    return False
                self._wake.wait(self._patience())
            if time.monotonic() >= self._drain_until:
                return False
            taken = self._take()
            self._turn_began = time.monotonic()
        self._drop_done()
        if taken:
            self._encoding_thread.start(taken)
        if self._encoding_thread.ready:
            self._admit(self._encoding_thread.take())
        if batches := list(self._batches):
            self._stepper.step(batches)
        self._observer.active(self.active_rows)
        return True

    def _has_work(self) -> bool:
        if self._encoding_thread.ready or any(self._batches):
            return True
        return self._queue.has_work(0 if self._encoding_thread.full else self._free_rows)

    def _patience(self) -> float | None:
        """Seconds until the next deadline of a study whose images are still being prepared."""
        next_deadline = self._queue.next_deadline()
        until = min(self._drain_until, math.inf if next_deadline is None else next_deadline)
        return max(0.0, until - time.monotonic()) + 1e-3 if until < math.inf else None

    def _take(self) -> list[StudyRequest]:
        """Studies that fit the free rows, of about as many images as are encoded together."""
        taken = self._queue.take(self._free_rows, 0 if self._encoding_thread.full else self._encoder.max_images)
        self._observer.queued(len(self._queue))
        return taken

    @property
    def _free_rows(self) -> int:
        return self.max_rows - self.active_rows - self._encoding_thread.rows

    def _drop_done(self) -> None:
        """Frees the rows of studies that were cancelled or are late."""
        now = time.monotonic()
        for batch in self._batches:
            if done := [slot for slot, study in enumerate(batch.studies) if study.expire_if_due(now)]:
                batch.release(done)
        self._observer.active(self.active_rows)

    def _admit(self, found: EncodedStudies | StudyRequest | None) -> None:
        """Gives encoded studies their slots, but for those of which no report is to be written."""
        if isinstance(found, StudyRequest):
            found.fail(GenerationError("the study could not be encoded"))
        if not isinstance(found, EncodedStudies):
            logger.warning("%s could not be encoded", "a study" if found else "studies together")
            return
        self._observer.stage("encode", found.seconds)
        self._observer.encoded([study.tag for study in found.studies], found.seconds)
        accepted: dict[int, list[int]] = defaultdict(list)
        for i, study in enumerate(found.studies):
            if study.expire_if_due(time.monotonic()):
                continue
            study.encoded_at = found.finished_at
            study.encoding = found.encodings[i]
            self._observer.admitted(study.waited)
            if not all(map(math.isfinite, study.encoding.finding_logits)):
                study.fail(GenerationError("the network gave no number"))
            elif refusal := study.refuse(study.encoding):
                study.fail(refusal)
            else:
                accepted[study.options.num_beams].append(i)
        for rows in accepted.values():
            self._batches.admit([found.studies[i] for i in rows], found.cross_kv, rows)

    def _fail_all(self, error: Exception) -> None:
        with self._wake:
            studies = [*self._queue.clear(), *self._encoding_thread.studies, *self._batches.clear()]
        for study in studies:
            study.fail(error)
