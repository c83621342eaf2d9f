"""Whatever the order of arrivals, cancellations and deadlines: who gets an answer gets the one he gets alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from app.inference.checkpoint import load_checkpoint
from app.inference.engine.engine import Engine
from app.inference.engine.request import Generation
from app.inference.errors import DeadlineExceededError, EngineFullError
from app.inference.network.decoder import ArchiveDecoder, Decoder, DecoderInput
from app.inference.network.encoder import make_encode, study_encoder
from app.inference.network.packed_decoder import PackedDecoder
from app.inference.options import DecodingOptions

CPU = torch.device("cpu")
LONGEST = 12

options = st.integers(1, 8).flatmap(
    lambda beams: st.builds(
        DecodingOptions,
        num_beams=st.just(beams),
        num_return_sequences=st.integers(1, beams),
        max_new_tokens=st.integers(1, LONGEST),
        length_penalty=st.sampled_from([0.0, 1.0, 2.0]),
        early_stopping=st.sampled_from([True, False, "never"]),
        repetition_penalty=st.sampled_from([1.0, 1.3]),
    )
)
# What happens next: a study arrives (image, views, options), leaves, is late, or the engine makes some steps.
events = st.one_of(
    st.tuples(st.just("arrive"), st.integers(0, 3), st.integers(1, 4), options),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("late"), st.integers(0, 3), st.integers(1, 4), options),
    st.tuples(st.just("steps"), st.integers(1, 5)),
)


class Gate:
    """A decoder that waits before every step until it is let through."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.prepare, self.allocate = decoder.prepare, decoder.allocate
        self.open = threading.Event()
        self.permits = threading.Semaphore(0)

    def step(self, batches: Sequence[DecoderInput]) -> list[Tensor]:
        while not self.open.is_set() and not self.permits.acquire(timeout=0.01):
            pass
        return self.decoder.step(batches)


class Bench:
    """One engine behind a gate, one that is left alone with each study, and the images they are asked about."""

    def __init__(self, checkpoint_path: Path, packed: bool) -> None:
        checkpoint = load_checkpoint(checkpoint_path)
        module, size = checkpoint.module, checkpoint.manifest.image_size
        encoders = [study_encoder(checkpoint, make_encode(module, "exact", CPU), CPU) for _ in "ab"]
        decoder = PackedDecoder(module, torch.float32) if packed else ArchiveDecoder(module)
        self.gate = Gate(decoder)
        self.engine = Engine(encoders[0], self.gate, max_new_tokens=LONGEST, max_rows=16, max_queue=6)
        self.quiet = Engine(encoders[1], decoder, max_new_tokens=LONGEST, max_rows=8, max_queue=1)
        self.images = torch.rand(8, 1, size, size, generator=torch.Generator().manual_seed(0))
        self.known: dict[tuple[int, int, DecodingOptions], Generation] = {}

    def views(self, image: int, count: int) -> Future[Tensor]:
        ready: Future[Tensor] = Future()
        ready.set_result(self.images[image : image + count])
        return ready

    def alone(self, image: int, count: int, options: DecodingOptions) -> Generation:
        key = (image, count, options)
        if key not in self.known:
            self.known[key] = self.quiet.submit(self.views(image, count), options).result(30)
        return self.known[key]

    def close(self) -> None:
        self.gate.open.set()
        self.engine.close()
        self.quiet.close()


@pytest.fixture(scope="module", params=["archive", "packed"])
def bench(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> Iterator[Bench]:
    bench = Bench(tiny_checkpoint, request.param == "packed")
    yield bench
    bench.close()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=st.lists(events, min_size=2, max_size=24))
def test_any_schedule_gives_every_survivor_what_it_gets_alone(bench: Bench, schedule: list[tuple[Any, ...]]) -> None:
    """The same tokens, scores to rounding; the others are cancelled or told that they are late; none is forgotten."""
    asked: list[tuple[Future[Generation], tuple[int, int, DecodingOptions], str]] = []
    bench.gate.open.clear()
    for what, *details in schedule:
        if what == "steps":
            for _ in range(details[0]):
                bench.gate.permits.release()
        elif what == "cancel":
            if details[0] < len(asked):
                asked[details[0]][0].cancel()
        else:
            image, count, options = details
            deadline = time.monotonic() + 0.004 if what == "late" else None
            try:
                future = bench.engine.submit(bench.views(image, count), options, deadline)
            except EngineFullError:
                continue
            asked.append((future, (image, count, options), what))
    bench.gate.open.set()
    for future, study, what in asked:
        try:
            found = future.result(30)
        except CancelledError:
            continue
        except DeadlineExceededError:
            assert what == "late"
            continue
        expected = bench.alone(*study)
        assert [one.ids for one in found.sequences] == [one.ids for one in expected.sequences]
        scores = [[one.score for one in each.sequences] for each in (found, expected)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4, rel=1e-4)
        assert found.encoding.finding_logits == pytest.approx(expected.encoding.finding_logits, abs=1e-4, rel=1e-4)
    wait_until_idle(bench.engine)


def wait_until_idle(engine: Engine) -> None:
    """Every row comes back."""
    until = time.monotonic() + 10
    while engine.active_rows or engine.queue_depth:
        assert time.monotonic() < until
        time.sleep(0.001)
