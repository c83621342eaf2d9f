"""The lanes of all widths: who is in them, and where the next ones go."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from torch import Tensor

from app.inference.engine.request import Study
from app.inference.errors import GenerationError
from app.inference.network.decoder import Decoder
from app.inference.search.beam_batch import Lane

logger = logging.getLogger(__name__)


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
