"""The beam batches of all widths: who is in them, and where the next ones go."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from torch import Tensor

from app.inference.engine.request import StudyRequest
from app.inference.errors import GenerationError, StudyError
from app.inference.network.decoder import Decoder
from app.inference.search.beam_batch import BeamBatch

logger = logging.getLogger(__name__)


class BeamBatches:
    """The beam batches of all widths."""

    def __init__(self, decoder: Decoder, max_rows: int, max_tokens: int, *, fixed: bool) -> None:
        """Room for `max_rows` beams of `max_tokens`. Batches double when full, unless their size is `fixed`."""
        self._decoder, self._max_rows, self._max_tokens, self._fixed = decoder, max_rows, max_tokens, fixed
        self._by_width: dict[int, BeamBatch[StudyRequest]] = {}

    def __iter__(self) -> Iterator[BeamBatch[StudyRequest]]:
        """Those with studies in flight. Threads that ask for `rows` may come upon a new one."""
        return iter([batch for batch in list(self._by_width.values()) if batch.studies])

    @property
    def rows(self) -> int:
        """Beams in flight."""
        return sum(batch.rows for batch in self)

    def admit(self, studies: list[StudyRequest], cross_kv: list[Tensor], rows: list[int]) -> None:
        """Starts studies of one width, whose `cross_kv` is in `rows`. Where that fails each is started by itself, so
        that one whose options cannot be had fails alone."""
        while studies:
            try:
                batch = self._with_room(studies[0].options.num_beams, [table[rows[0]] for table in cross_kv])
                room = batch.capacity - len(batch.studies)
                options = [study.options for study in studies[:room]]
                batch.admit(studies[:room], options, [table[rows[:room]] for table in cross_kv])
            except Exception as error:  # no memory, or what nobody thought of
                if len(studies) > 1:
                    for study, row in zip(studies, rows, strict=True):
                        self.admit([study], cross_kv, [row])
                else:
                    self._refuse(studies[0], error)
                return
            studies, rows = studies[room:], rows[room:]

    def clear(self) -> list[StudyRequest]:
        """Forgets all batches, and returns the studies that were in them."""
        studies = [study for batch in self for study in batch.studies]
        self._by_width.clear()
        return studies

    def _refuse(self, study: StudyRequest, error: Exception) -> None:
        logger.warning("a study could not be admitted: %s", type(error).__name__)
        batch = self._by_width.get(study.options.num_beams)
        own = batch is not None and batch.search.fails_at(study.options)
        study.fail((StudyError if own else GenerationError)("the report could not be generated"))

    def _with_room(self, beams: int, cross_kv: list[Tensor]) -> BeamBatch[StudyRequest]:
        batch = self._by_width.get(beams)
        if batch is not None and len(batch.studies) < batch.capacity:
            return batch
        first = self._max_rows if self._fixed else 4
        capacity = min(self._max_rows // beams, 2 * batch.capacity if batch else first)
        grown = BeamBatch[StudyRequest](self._decoder, beams, capacity, self._max_tokens, cross_kv)
        if batch is not None:
            grown.adopt(batch)
        self._by_width[beams] = grown
        return grown
