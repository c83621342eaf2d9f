"""The beam search's step as one compiled call; see `app.inference.native`."""

from __future__ import annotations

import ctypes
from functools import partial

from torch import Tensor

from app.inference.native.library import SEARCHED, Library, Tables
from app.inference.native.one_thread import in_one_thread
from app.inference.search.beam_tables import NEVER, BeamTables
from app.text.tokenizer import EOS


class NativeChoice:
    """What `BeamSearch.choose` does, on the tables of one search."""

    def __init__(self, tables: BeamTables, library: Library) -> None:
        self._library = library
        self._tables = Tables(tables.beams, tables.tokens.shape[2], EOS, NEVER)
        for name in SEARCHED:
            setattr(self._tables, name, getattr(tables, name).data_ptr())

    def __call__(self, logits: Tensor) -> None:
        """A step with `logits` f32[N,K,V]."""
        studies, _, vocabulary = logits.shape
        logits = logits.contiguous()
        log_probs = in_one_thread(partial(logits.log_softmax, -1))
        tables = ctypes.addressof(self._tables)
        self._library.choose(tables, studies, logits.data_ptr(), log_probs.data_ptr(), vocabulary)
