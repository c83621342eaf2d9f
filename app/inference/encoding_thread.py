"""Encoding beside the engine's steps: on a CPU by a thread of its own, so that nobody in flight waits for it."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from app.inference.decoder import Decoder
from app.inference.encoder import Encoding, StudyEncoder
from app.inference.lane import Study


@dataclass(frozen=True, slots=True)
class EncodedStudies:
    """Studies with what the network sees in them, what the decoder keeps of that (study first), and when."""

    studies: list[Study]
    encodings: list[Encoding]
    constants: list[Tensor]
    seconds: float
    finished_at: float


class EncodingThread:
    """Encodes one batch of studies after the other. Its methods are called by one thread, the engine's."""

    def __init__(self, encoder: StudyEncoder, decoder: Decoder, notify: Callable[[object], None]) -> None:
        """`notify` is called when a batch is done. On a GPU, which has one queue of work, all is done at once."""
        self._encoder, self._decoder, self._notify = encoder, decoder, notify
        self._thread = ThreadPoolExecutor(1, "encode", _same_threads) if encoder.device.type == "cpu" else None
        self._batches: deque[list[Study]] = deque()
        self._done: Future[EncodedStudies] = Future()
        self.began = math.inf  # the batch at work

    @property
    def studies(self) -> list[Study]:
        """Those being encoded."""
        return [study for batch in self._batches for study in batch]

    @property
    def ready(self) -> bool:
        """Whether a batch is done and not yet taken."""
        return bool(self._batches) and self._done.done()

    def start(self, studies: list[Study]) -> None:
        """Encodes studies together."""
        self._batches.append(studies)
        if len(self._batches) == 1:
            self._begin()

    def take(self) -> EncodedStudies | Study | None:
        """What is ready: encoded studies, or one that cannot be. None when a batch failed: its studies are encoded one
        by one then, so that a bad one fails alone."""
        batch, error = self._batches.popleft(), self._done.exception()
        if error and len(batch) > 1:
            self._batches.extendleft([study] for study in reversed(batch))
        found = None if error else self._done.result()
        self.began = math.inf
        if self._batches:
            self._begin()
        return found or (batch[0] if len(batch) == 1 else None)

    def close(self) -> None:
        """Ends the thread when its batch is done, without waiting for it."""
        if self._thread:
            self._thread.shutdown(wait=False)

    def _begin(self) -> None:
        self.began = time.monotonic()
        self._done = Future()
        if self._thread:
            self._done = self._thread.submit(self._encode, self._batches[0])
            self._done.add_done_callback(self._notify)
            return
        try:
            self._done.set_result(self._encode(self._batches[0]))
        except Exception as error:
            self._done.set_exception(error)

    @torch.inference_mode()
    def _encode(self, studies: list[Study]) -> EncodedStudies:
        started = time.monotonic()
        encodings, constants = self._encoder([study.views.result() for study in studies])
        kept = self._decoder.prepare(constants)
        now = time.monotonic()
        return EncodedStudies(studies, encodings, kept, now - started, now)


def _same_threads() -> None:
    torch.set_num_threads(torch.get_num_threads())  # OpenMP keeps the number thread by thread
