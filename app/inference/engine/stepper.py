"""One beam step for all batches in flight, and what comes of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from app.inference.engine.observer import Observer
from app.inference.engine.request import StudyRequest
from app.inference.engine.step_graphs import StepGraphs
from app.inference.errors import GenerationError, StudyError
from app.inference.network.decoder import Decoder
from app.inference.search.beam_batch import BeamBatch
from app.inference.search.beam_search import OptionsFailedError
from app.inference.search.beam_tables import TokenSequence

logger = logging.getLogger(__name__)


class Stepper:
    """Steps beam batches, answers the studies that finish or fail, and frees their slots."""

    def __init__(
        self,
        decoder: Decoder,
        graphs: StepGraphs | None,
        observer: Observer,
        finished: Callable[[StudyRequest, float], None],
    ) -> None:
        """With `graphs` batches are stepped by these, each by itself; `finished` is told who was answered, and when."""
        self._decoder, self._graphs = decoder, graphs
        self._observer, self._finished = observer, finished

    def step(self, batches: list[BeamBatch[StudyRequest]]) -> None:
        """A step for all batches; when that fails, batch by batch, so that a bad one fails alone."""
        started = time.monotonic()
        try:
            if self._graphs is None:
                logits = self._decoder.step([batch.inputs() for batch in batches])
                advances = [partial(batch.search.advance, own) for batch, own in zip(batches, logits, strict=True)]
            else:
                advances = [partial(self._graphs, batch) for batch in batches]
        except Exception as error:
            if len(batches) > 1:
                for batch in batches:
                    self.step([batch])
            else:
                self._fail_batch(batches[0], error)
            return
        self._observer.step(sum(batch.rows for batch in batches))
        for batch, advance in zip(batches, advances, strict=True):
            try:
                try:
                    advance()
                    self._harvest(batch)  # a GPU reports what failed only when it is asked
                except OptionsFailedError as error:
                    self._isolate(batch, error)
            except Exception as error:
                self._fail_batch(batch, error)
        self._observer.stage("step", time.monotonic() - started)

    def _harvest(self, batch: BeamBatch[StudyRequest]) -> None:
        finished, non_finite = batch.search.outcome()
        good = [slot for slot in finished if slot not in non_finite]
        for slot, sequences in zip(good, batch.search.sequences(good), strict=True):
            self._finish(batch.studies[slot], sequences)
        for slot in non_finite:
            batch.clean(slot)
        self._end(batch, {*finished, *non_finite}, "the network gave no number")

    def _isolate(self, batch: BeamBatch[StudyRequest], error: OptionsFailedError) -> None:
        """Fails the studies whose own options are at fault, and takes the step for the others."""
        logger.warning("%s: %s", error, type(error.__cause__).__name__)
        for slot in error.slots:
            batch.studies[slot].fail(StudyError("the report could not be generated"))
        kept = batch.release(error.slots)
        if kept:
            batch.search.advance(error.logits[kept])
            self._harvest(batch)

    def _fail_batch(self, batch: BeamBatch[StudyRequest], error: Exception) -> None:
        logger.warning("a step of %d studies failed: %s", len(batch.studies), type(error).__name__)
        self._end(batch, set(range(len(batch.studies))), "the report could not be generated")

    def _end(self, batch: BeamBatch[StudyRequest], slots: set[int], otherwise: str) -> None:
        """Frees slots; studies that were not answered fail with what `otherwise` says."""
        if slots:
            for slot in slots:
                batch.studies[slot].fail(GenerationError(otherwise))
            batch.release(slots)

    def _finish(self, study: StudyRequest, sequences: list[TokenSequence]) -> None:
        now = time.monotonic()
        generation = study.answer(sequences, now)
        self._finished(study, now)
        self._observer.generated(len(sequences[0].ids))
        self._observer.stage("generate", generation.generate_seconds)
