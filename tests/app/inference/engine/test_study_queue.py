"""The queue of studies: whose turn it is, and what finding that out costs."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor

from app.inference.engine.request import Generation, StudyRequest
from app.inference.engine.study_queue import StudyQueue
from app.inference.errors import DeadlineExceededError, EngineFullError
from app.inference.options import DecodingOptions


def waiting(
    queue: StudyQueue, *, beams: int = 1, images: int = 1, deadline: float | None = None, ready: bool = True
) -> StudyRequest:
    """A study that was added, and left as the engine lets those leave that are answered."""
    views: Future[Tensor] = Future()
    answer: Future[Generation] = Future()
    study = StudyRequest(views, DecodingOptions(num_beams=beams), deadline, None, answer, time.monotonic())
    queue.add(study)
    answer.add_done_callback(lambda _: queue.drop(study))
    views.add_done_callback(lambda _: queue.ready(study))
    if ready:
        views.set_result(torch.zeros(images, 1, 1, 1))
    return study


def test_first_come_first_served() -> None:
    """Studies are taken in the order they came, whichever was ready first; who is not holds up nobody."""
    queue = StudyQueue(9)
    late, first, never, second = (waiting(queue, ready=ready) for ready in (False, True, False, True))
    late.views.set_result(torch.zeros(1, 1, 1, 1))
    assert queue.take(9, 2) == [late, first]
    assert queue.take(9, 9) == [second]
    assert queue.clear() == [never]


def test_wide_study_holds_back() -> None:
    """A study that does not fit is not passed by a narrower one, and there is no work until it does."""
    queue = StudyQueue(9)
    wide, narrow = waiting(queue, beams=4), waiting(queue)
    assert not queue.has_work(3)
    assert queue.take(3, 9) == []
    assert queue.has_work(4)
    assert queue.take(4, 9) == [wide]
    assert queue.take(3, 9) == [narrow]


def test_images_are_counted() -> None:
    """A turn takes studies until they have as many images as are encoded together."""
    queue = StudyQueue(9)
    studies = [waiting(queue, images=2) for _ in range(3)]
    assert queue.take(9, 3) == studies[:2]
    assert queue.take(9, 0) == []


def test_whoever_nobody_waits_for_is_gone() -> None:
    """Studies that are cancelled make room at once, those that are late at the next turn, whether ready or not."""
    queue = StudyQueue(4)
    now = time.monotonic()
    cancelled, kept = waiting(queue), waiting(queue, deadline=now + 60, ready=False)
    late = [waiting(queue, deadline=now - 1, ready=ready) for ready in (True, False)]
    with pytest.raises(EngineFullError):
        waiting(queue)
    cancelled.future.cancel()
    assert len(queue) == 3
    assert queue.has_work(0)
    assert queue.take(0, 0) == []
    assert [type(study.future.exception()) for study in late] == [DeadlineExceededError] * 2
    assert queue.next_deadline() == now + 60
    assert queue.clear() == [kept]


def calls(work: Callable[[], object]) -> int:
    """Functions, of Python and of C, that are called meanwhile."""
    count = 0

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # what it calls would be counted as well, whenever it comes
    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


@pytest.mark.parametrize("ready", [True, False])
def test_a_turn_does_not_grow_with_the_queue(ready: bool) -> None:
    """Turns in which nobody fits or is ready ask as much of ten studies that wait as of a thousand."""

    def turns(studies: int) -> int:
        queue = StudyQueue(studies)
        for _ in range(studies):
            waiting(queue, beams=2, deadline=time.monotonic() + 60, ready=ready)
        return calls(lambda: [(queue.has_work(1), queue.take(1, 9), queue.next_deadline()) for _ in range(20)])

    assert turns(1000) == turns(10)


def test_what_left_is_forgotten() -> None:
    """Numbers of studies that have left do not pile up behind those that stay."""
    queue = StudyQueue(9)
    for _ in range(500):
        waiting(queue, deadline=time.monotonic() + 60)
        assert len(queue.take(1, 1)) == 1
    assert len(queue._ready) + len(queue._deadlines) <= 2
