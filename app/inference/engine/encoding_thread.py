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

from app.inference.engine.request import StudyRequest
from app.inference.network.decoder import Decoder
from app.inference.network.encoder import Encoding, StudyEncoder

PREFETCH = 2  # batches


@dataclass(frozen=True, slots=True)
class EncodedStudies:
    """Studies with what the network sees in them, what the decoder keeps of that (study first), and when."""

    studies: list[StudyRequest]
    encodings: list[Encoding]
    cross_kv: list[Tensor]
    seconds: float
    finished_at: float


class EncodingThread:
    """Encodes one batch of studies after the other. Its methods are called by one thread, the engine's."""

    def __init__(self, encoder: StudyEncoder, decoder: Decoder, notify: Callable[[object], None]) -> None:
        """`notify` is called when a batch is done. On a GPU, which has one queue of work, all is done at once."""
        self._encoder, self._decoder, self._notify = encoder, decoder, notify
        self._thread = ThreadPoolExecutor(1, "encode", _same_threads) if encoder.device.type == "cpu" else None
        self._batches: deque[tuple[list[StudyRequest], Future[EncodedStudies]]] = deque()
        self.began = math.inf  # the batch at work

    @property
    def studies(self) -> list[StudyRequest]:
        """Those being encoded, or done and not yet taken."""
        return [study for batch, _ in self._batches for study in batch]

    @property
    def rows(self) -> int:
        """The beams these will have."""
        return sum(study.options.num_beams for study in self.studies)

    @property
    def full(self) -> bool:
        """Whether it has enough to do: a batch at work, and the next one at hand."""
        return len(self._batches) >= PREFETCH

    @property
    def ready(self) -> bool:
        """Whether a batch is done and not yet taken."""
        return bool(self._batches) and self._batches[0][1].done()

    def start(self, studies: list[StudyRequest]) -> None:
        """Encodes studies together, after those it has."""
        done: Future[EncodedStudies] = Future()
        if self._thread:
            done = self._thread.submit(self._encode, studies)
            done.add_done_callback(self._notify)
        else:
            try:
                done.set_result(self._encode(studies))
            except Exception as error:
                done.set_exception(error)
        self._batches.append((studies, done))

    def take(self) -> EncodedStudies | StudyRequest | None:
        """What is ready: encoded studies, or one that cannot be. None when a batch failed: its studies are encoded one
        by one then, so that a bad one fails alone."""
        batch, done = self._batches.popleft()
        if done.exception() is None:
            return done.result()
        if len(batch) == 1:
            return batch[0]
        for study in batch:
            self.start([study])
        return None

    def close(self) -> None:
        """Ends the thread when its batch is done, without waiting for it."""
        if self._thread:
            self._thread.shutdown(wait=False, cancel_futures=True)

    @torch.inference_mode()
    def _encode(self, studies: list[StudyRequest]) -> EncodedStudies:
        started = self.began = time.monotonic()
        try:
            encodings, cross_kv = self._encoder(
                [study.views.result() for study in studies], [study.point for study in studies]
            )
            kept = self._decoder.prepare(cross_kv)
        finally:
            self.began = math.inf
        now = time.monotonic()
        return EncodedStudies(studies, encodings, kept, now - started, now)


def _same_threads() -> None:
    torch.set_num_threads(torch.get_num_threads())  # OpenMP keeps the number thread by thread
