"""The engine from outside: answers do not depend on neighbours, and every future is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from app.inference.checkpoint import Checkpoint, load_checkpoint
from app.inference.encoder_output import EncoderOutput
from app.inference.engine.engine import Engine
from app.inference.errors import (
    DeadlineExceededError,
    EngineFullError,
    EngineStoppedError,
    GenerationError,
    UnsupportedDeviceError,
)
from app.inference.generator import Generator
from app.inference.network.decoder import ArchiveDecoder
from app.inference.network.encoder import study_encoder
from app.inference.ood import NotAChestXrayError
from app.inference.options import DecodingOptions, EarlyStopping, InvalidOptionError
from app.inference.search.beam_search import BeamSearch
from app.report import Report


@pytest.fixture
def generator(tiny_checkpoint: Path) -> Iterator[Generator]:
    generator = Generator.load(tiny_checkpoint, device="cpu")
    yield generator
    generator.close()


def picture(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, rng.integers(20, 90, 2), dtype=np.uint8)


def assert_same(one: Report, other: Report) -> None:
    assert [h.token_texts for h in one.hypotheses] == [h.token_texts for h in other.hypotheses]
    assert [h.score for h in one.hypotheses] == pytest.approx([h.score for h in other.hypotheses], rel=1e-4)


def test_answers_do_not_depend_on_neighbours(generator: Generator) -> None:
    """Studies of all widths, lengths and view counts sent together get what each gets alone."""
    rng = np.random.default_rng(0)
    studies = []
    endings: list[EarlyStopping] = [True, False, "never"]
    for i in range(40):
        beams = int(rng.integers(1, 9))
        options = DecodingOptions(
            num_beams=beams,
            num_return_sequences=int(rng.integers(1, beams + 1)),
            max_new_tokens=int(rng.integers(1, 40)),
            length_penalty=float(rng.choice([0.0, 1.0, 2.0])),
            early_stopping=endings[i % 3],
            no_repeat_ngram_size=int(rng.choice([0, 2])),
            repetition_penalty=float(rng.choice([1.0, 1.4])),
        )
        studies.append(([picture(100 * i + k) for k in range(1 + i % 4)], options))
    together = []
    for images, options in studies:
        together.append(generator.submit(images, options))
        time.sleep(0.002)  # so that some join while others are under way
    alone = [generator.submit(images, options).result() for images, options in studies]
    for future, report in zip(together, alone, strict=True):
        assert_same(future.result(), report)
    assert len({report.hypotheses[0].token_texts for report in alone}) > 20


def test_the_order_of_views_makes_no_difference(generator: Generator) -> None:
    """A study is a set of images."""
    images = [picture(1), picture(2), picture(3)]
    options = DecodingOptions(num_beams=3, max_new_tokens=40)
    one = generator.submit(images, options).result()
    other = generator.submit(images[::-1], options).result()
    assert_same(one, other)
    assert [v.view for v in one.views] == [v.view for v in other.views][::-1]


class Slow:
    """A network that takes its time and can be made to fail, around the real one."""

    def __init__(self, checkpoint: Checkpoint, seconds: float = 0.0) -> None:
        self.checkpoint, self.module, self.seconds = checkpoint, cast(Any, checkpoint.module), seconds
        self.fail_encode: Exception | None = None
        self.fail_step: Exception | None = None
        self.nan: int | None = None  # the row whose logits are
        self.steps = 0
        self.encoding: threading.Event | None = None  # encoding waits for it

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def encode(self, views: torch.Tensor) -> Any:
        if self.encoding:
            self.encoding.wait(10)
        if self.fail_encode and bool((views > 90).any()):
            raise self.fail_encode
        return self.module.encode(views)

    def decode_step(self, *args: Any) -> torch.Tensor:
        self.steps += 1
        time.sleep(self.seconds)
        if self.fail_step:
            raise self.fail_step
        logits: torch.Tensor = self.module.decode_step(*args)
        if self.nan is not None and len(logits) > self.nan:
            logits[self.nan] = float("nan")
        return logits


@pytest.fixture
def slow(tiny_checkpoint: Path) -> Slow:
    return Slow(load_checkpoint(tiny_checkpoint), 0.005)


@pytest.fixture
def engine(slow: Slow) -> Iterator[Engine]:
    engine = make_engine(slow)
    yield engine
    engine.close()


def make_engine(slow: Slow, **limits: int) -> Engine:
    settings = {"max_new_tokens": 40, "max_rows": 16, "max_queue": 4} | limits
    served = replace(slow.checkpoint, module=slow)  # type: ignore[arg-type]  # stands in for a module
    encoder = study_encoder(served, lambda images: EncoderOutput(*slow.encode(images)), torch.device("cpu"))
    encoder.max_images = 16  # however few threads there are
    engine = Engine(encoder, ArchiveDecoder(slow), **settings)  # type: ignore[arg-type]  # the same
    for _ in range(3):  # TorchScript compiles at the first calls
        engine.submit(views(), DecodingOptions(num_beams=4, max_new_tokens=3)).result(10)
    return engine


def views(value: float = 0.0) -> Future[torch.Tensor]:
    future: Future[torch.Tensor] = Future()
    future.set_result(torch.full((1, 1, 64, 64), value))
    return future


LONG = DecodingOptions(num_beams=4, max_new_tokens=40, min_new_tokens=40)


def test_a_full_queue_refuses_at_once_and_says_when(engine: Engine) -> None:
    """Admission is bounded and never blocks."""
    taken = [engine.submit(views(), LONG) for _ in range(4)]
    time.sleep(0.05)  # those four are in flight and fill the rows
    taken += [engine.submit(views(), LONG) for _ in range(4)]
    started = time.monotonic()
    with pytest.raises(EngineFullError) as caught:
        engine.submit(views(), LONG)
    assert time.monotonic() - started < 0.1
    assert caught.value.retry_after > 0
    assert all(f.result(30) for f in taken)


def test_a_cancelled_study_frees_its_rows_at_the_next_step(engine: Engine) -> None:
    """Nobody waits for a client that left."""
    future = engine.submit(views(), LONG)
    time.sleep(0.03)
    assert engine.active_rows == 4
    assert future.cancel()
    time.sleep(0.1)
    assert engine.active_rows == 0


def test_a_deadline_ends_a_study_in_flight_and_in_the_queue(slow: Slow) -> None:
    """Late studies are told so, and the others go on."""
    engine = make_engine(slow, max_queue=16)
    soon = time.monotonic() + 0.06
    late = [engine.submit(views(), LONG, soon) for _ in range(6)]
    good = engine.submit(views(), LONG)
    for future in late:
        with pytest.raises(DeadlineExceededError):
            future.result(5)
    assert good.result(5).sequences
    engine.close()


def test_a_study_whose_images_never_come_still_meets_its_deadline(engine: Engine) -> None:
    """An idle engine wakes up for a deadline."""
    with pytest.raises(DeadlineExceededError):
        engine.submit(Future(), LONG, time.monotonic() + 0.05).result(5)


def test_a_study_that_cannot_be_encoded_fails_alone(slow: Slow) -> None:
    """Encoding together is retried one by one."""
    engine = make_engine(slow)
    slow.fail_encode = RuntimeError("bad picture")
    held: Future[torch.Tensor] = Future()
    futures = [engine.submit(held, LONG), engine.submit(views(99.0), LONG), engine.submit(views(), LONG)]
    held.set_result(torch.zeros(1, 1, 64, 64))
    with pytest.raises(GenerationError):
        futures[1].result(10)
    assert futures[0].result(10).sequences
    assert futures[2].result(10).sequences
    engine.close()


def test_nobody_in_flight_waits_for_others_to_be_encoded(engine: Engine, slow: Slow) -> None:
    """Encoding goes on beside the steps; the engine says how long it has been at it."""
    flying = engine.submit(views(), LONG)
    time.sleep(0.05)
    slow.encoding = threading.Event()
    held = engine.submit(views(), LONG)
    assert flying.result(10).sequences
    assert not held.done()
    assert engine.turn_seconds > 0.05
    slow.encoding.set()
    assert held.result(10).sequences


def test_images_that_fail_to_prepare_fail_their_study_alone(engine: Engine) -> None:
    """An error in preprocessing answers one future."""
    failed: Future[torch.Tensor] = Future()
    failed.set_exception(ValueError("x"))
    bad, good = engine.submit(failed, LONG), engine.submit(views(), LONG)
    with pytest.raises(GenerationError):
        bad.result(10)
    assert good.result(10).sequences


def test_not_a_number_fails_its_study_alone(slow: Slow) -> None:
    """A neighbour of NaN logits gets its report."""
    engine = make_engine(slow)
    slow.nan = 1
    futures = [engine.submit(views(), LONG), engine.submit(views(1.0), LONG)]
    assert futures[0].result(10).sequences
    with pytest.raises(GenerationError):
        futures[1].result(10)
    engine.close()


@pytest.mark.parametrize("error", [RuntimeError("boom"), torch.OutOfMemoryError("no memory")])
def test_a_failing_step_answers_its_studies_and_the_engine_goes_on(slow: Slow, error: Exception) -> None:
    """What was in the step fails; what comes later does not."""
    engine = make_engine(slow)
    slow.fail_step = error
    bad = [engine.submit(views(), LONG) for _ in range(3)]
    for future in bad:
        with pytest.raises(GenerationError):
            future.result(10)
    slow.fail_step = None
    assert engine.submit(views(), LONG).result(10).sequences
    engine.close()


class NoMemory:
    """Keys and values that cannot be copied."""

    def __getitem__(self, _: object) -> None:
        raise MemoryError


def test_no_memory_for_a_copy_of_keys_and_values_fails_its_study_alone(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are copied on their way into a batch."""
    engine = make_engine(slow)
    with monkeypatch.context() as patch:
        patch.setattr(ArchiveDecoder, "prepare", lambda *_: [NoMemory()])
        with pytest.raises(GenerationError):
            engine.submit(views(), LONG).result(10)
    assert engine.submit(views(), LONG).result(10).sequences
    engine.close()


@pytest.mark.parametrize("where", ["prepare", "allocate"])
def test_no_memory_beside_the_network_fails_its_study_alone(slow: Slow, where: str) -> None:
    """Keeping a study's keys and values, or growing a batch for it, may fail as a step may."""
    engine = make_engine(slow)
    good = engine.submit(views(), LONG)
    time.sleep(0.03)
    with pytest.MonkeyPatch.context() as patch:

        def no_memory(*_: object) -> None:
            raise MemoryError

        patch.setattr(ArchiveDecoder, where, no_memory)
        bad = engine.submit(views(), DecodingOptions(num_beams=2, max_new_tokens=3))
        with pytest.raises(GenerationError):
            bad.result(10)
    assert good.result(10).sequences
    assert engine.submit(views(), DecodingOptions(num_beams=2, max_new_tokens=3)).result(10).sequences
    engine.close()


def test_a_search_that_raises_fails_its_batch_alone(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choosing tokens may run out of memory, too."""
    engine = make_engine(slow)
    choose = BeamSearch.choose

    def only_wide(search: BeamSearch, logits: torch.Tensor) -> None:
        if search.beams == 2:
            raise MemoryError
        choose(search, logits)

    monkeypatch.setattr(BeamSearch, "choose", only_wide)
    bad = engine.submit(views(), DecodingOptions(num_beams=2, max_new_tokens=30))
    good = engine.submit(views(), LONG)
    with pytest.raises(GenerationError):
        bad.result(10)
    assert good.result(10).sequences
    assert engine.alive
    engine.close()


def test_stopping_with_a_full_queue_answers_everybody(slow: Slow) -> None:
    """No future is left unresolved, whatever the moment."""
    engine = make_engine(slow)
    futures = [engine.submit(views(), LONG) for _ in range(4)]
    time.sleep(0.02)
    futures += [engine.submit(Future(), LONG) for _ in range(4)]
    engine.close()
    assert not wait(futures, timeout=1).not_done
    assert all(isinstance(f.exception(), EngineStoppedError) for f in futures)
    with pytest.raises(EngineStoppedError):
        engine.submit(views(), LONG)


def test_draining_finishes_what_was_taken(slow: Slow) -> None:
    """Within the drain time everything in flight and queued is answered with a report."""
    engine = make_engine(slow)
    futures = [engine.submit(views(), LONG) for _ in range(4)]
    time.sleep(0.05)
    futures += [engine.submit(views(), LONG) for _ in range(3)]
    closer = threading.Thread(target=engine.close, args=(30.0,))
    closer.start()
    assert all(f.result(30).sequences for f in futures)
    closer.join(5)
    assert not closer.is_alive()


def test_cancelling_at_random_moments_harms_nobody(engine: Engine) -> None:
    """Cancelled futures are cancelled, all others are answered, and the rows come back."""
    rng = np.random.default_rng(1)
    kept, left = [], []
    for i in range(60):
        try:
            future = engine.submit(
                views(float(i)), DecodingOptions(num_beams=4, max_new_tokens=int(rng.integers(1, 20)))
            )
        except EngineFullError:
            time.sleep(0.02)
            continue
        if rng.random() < 0.5:
            threading.Timer(float(rng.random() * 0.05), future.cancel).start()
            left.append(future)
        else:
            kept.append(future)
        time.sleep(float(rng.random() * 0.01))
    assert all(f.result(30).sequences for f in kept)
    for future in left:
        with suppress(CancelledError):
            future.result(30)
    time.sleep(0.05)
    assert engine.active_rows == 0


def test_the_shortest_queue_warms_up(tiny_checkpoint: Path) -> None:
    """Warming up asks for no more room than there is."""
    generator = Generator.load(tiny_checkpoint, device="cpu", max_queue=1)
    generator.warm_up()
    assert generator.ready
    generator.close()


def test_warming_up_again_leaves_the_encoder_to_the_engine(generator: Generator) -> None:
    """The watchdog tries studies while others may be in flight: two threads in one encoder could exchange images."""
    generator.warm_up()
    threads = []
    encode = generator._encoder._encode

    def noting(images: torch.Tensor) -> Any:
        threads.append(threading.current_thread().name)
        return encode(images)

    generator._encoder._encode = noting
    generator.warm_up()
    assert {name.partition("_")[0] for name in threads} == {"encode"}


def test_refusals_go_on_while_the_service_tries_itself(generator: Generator) -> None:
    """The watchdog's studies are no radiographs and are let through; a client's at the same time are refused."""
    generator.warm_up()
    asked: list[object] = []

    def refuse(images: object) -> NotAChestXrayError:
        asked.append(images)
        return NotAChestXrayError("no")

    generator._ood.refusal = refuse  # type: ignore[method-assign]  # a policy that refuses all
    ours = threading.Thread(target=generator.warm_up)
    ours.start()
    with pytest.raises(NotAChestXrayError):
        generator.submit([np.zeros((40, 50), np.uint8)], DecodingOptions(max_new_tokens=8)).result()
    ours.join()
    assert generator.ready
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("device", "precision"), [("tpu", "auto"), ("cuda:99", "auto"), ("meta", "auto"), ("cpu", "float8")]
)
def test_a_device_or_precision_that_is_not_there_is_refused(tiny_checkpoint: Path, device: str, precision: str) -> None:
    """Settings are taken at their word or not at all."""
    with pytest.raises(UnsupportedDeviceError):
        Generator.load(tiny_checkpoint, device=device, precision=precision)


@pytest.mark.parametrize(
    ("option", "value"),
    [("num_beams", 9), ("num_return_sequences", 4), ("length_penalty", 11.0), ("early_stopping", "maybe"),
     ("max_new_tokens", 0), ("min_new_tokens", 500), ("no_repeat_ngram_size", -1), ("repetition_penalty", 0.0)],
)  # fmt: skip
def test_an_option_out_of_range_is_named(option: str, value: Any) -> None:
    """Options are checked in one place."""
    with pytest.raises(InvalidOptionError, match=option) as caught:
        DecodingOptions(**{option: value})
    assert caught.value.option == option
