"""Whatever options a client sends, they are taken or refused by name, and nobody else notices."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.options import ReportOptions, parse_options
from app.api.problems import Problem
from app.inference.generator import Generator
from app.inference.options import EARLY_STOPPING, RANGES, DecodingOptions
from app.inference.served_model import ServedModel
from benchmarks.server import Server
from tests.app.fuzz.numbers import TEXTS, at_and_beyond_bounds, option_set
from tests.app.fuzz.test_corpus import report_on
from tests.app.pictures import phantom, png

URL = "/v1/report"
TOKENS = 40  # of the tiny checkpoint
COUNTS = {False: 200, True: 10_000}
CALM: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}

Sequences = list[tuple[str, ...]]


@pytest.fixture(scope="module")
def generator(tiny_checkpoint: Path) -> Iterator[Generator]:
    """A tiny engine at work."""
    made = Generator.load(tiny_checkpoint, device="cpu", ood="off")
    yield made
    made.close()


@given(
    name=st.sampled_from([*RANGES, "early_stopping", "operating_point", "sections", "include", "object"]), text=TEXTS
)
@settings(max_examples=1000, **CALM)
def test_texts(generator: Generator, name: str, text: str) -> None:
    """A text is a value within the option's range, or refused at once with an error that names the option."""
    started = time.perf_counter()
    options, problem = parsed(name, text, generator.model)
    if problem:
        assert problem.type == "invalid-options"
        assert name in problem.detail
    if options and name in RANGES:
        options.decoding.check_model(TOKENS)
        assert text.isascii()
        assert float(text) == getattr(options.decoding, name)
    assert time.perf_counter() - started < 0.5


def parsed(name: str, text: str, model: ServedModel) -> tuple[ReportOptions | None, Problem | None]:
    """What an option's text is taken for, or the problem it is refused with."""
    try:
        return parse_options([(name, text)], [], model), None
    except Problem as problem:
        return None, problem


@st.composite
def accepted(draw: st.DrawFn) -> DecodingOptions:
    """Any options the tiny checkpoint takes, their bounds more often than by chance."""

    def number(name: str, high: float | None = None) -> Any:
        one = RANGES[name]
        top = one.maximum_of(TOKENS) if high is None else high
        inside = st.integers(int(one.minimum), int(top)) if one.type is int else st.floats(one.minimum, top)
        return draw(st.sampled_from([one.type(one.minimum), one.type(top)]) | inside)

    beams, longest = number("num_beams"), number("max_new_tokens")
    return DecodingOptions(
        num_beams=beams,
        num_return_sequences=number("num_return_sequences", beams),
        length_penalty=number("length_penalty"),
        early_stopping=draw(st.sampled_from([*EARLY_STOPPING.values()])),
        min_new_tokens=number("min_new_tokens", longest),
        max_new_tokens=longest,
        no_repeat_ngram_size=number("no_repeat_ngram_size"),
        repetition_penalty=number("repetition_penalty"),
    )


@given(options=accepted())
@settings(max_examples=60, derandomize=True, **CALM)
def test_neighbours(generator: Generator, options: DecodingOptions) -> None:
    """Two studies in flight beside one with any options it may have, of its width, get the tokens they get alone."""
    neighbours = [
        DecodingOptions(options.num_beams, min_new_tokens=25, max_new_tokens=TOKENS),
        DecodingOptions(options.num_beams, max_new_tokens=30, no_repeat_ngram_size=2, repetition_penalty=1.3),
    ]
    expected = [tokens_alone(generator, i, one) for i, one in enumerate(neighbours)]
    first, odd, last = (
        generator.submit([image(i)], one) for i, one in ((0, neighbours[0]), (2, options), (1, neighbours[1]))
    )
    assert [tokens_of(first.result(60)), tokens_of(last.result(60))] == expected
    assert len(odd.result(60).hypotheses) == options.num_return_sequences


@cache
def tokens_alone(generator: Generator, i: int, options: DecodingOptions) -> Sequences:
    return tokens_of(generator.submit([image(i)], options).result(60))


def image(i: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(i).integers(0, 256, (50, 60), dtype=np.uint8)


def tokens_of(report: Any) -> Sequences:
    return [hypothesis.token_texts for hypothesis in report.hypotheses]


def test_option_sets(server: Server, long: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Sets of options, good, at their bounds, beyond them and hostile: none is answered 5xx, neighbours in flight get
    the reports they get alone, and the service is ready throughout."""
    rng = random.Random(1)
    sets = at_and_beyond_bounds(TOKENS)
    sets += [option_set(rng, TOKENS) for _ in range(COUNTS[long] - len(sets))]
    picture, other = png(phantom(shift=3)), png(phantom(shift=5))
    answers: Counter[int] = Counter()
    done = threading.Event()
    served: list[str] = []
    ready: set[int] = set()
    with server.client() as client, ThreadPoolExecutor(4) as threads:
        alone = report_on(client, other)

        def neighbour() -> None:
            while not done.is_set():
                served.append(report_on(client, other))
                ready.add(client.get("/readyz").status_code)

        def send(numbered: tuple[int, dict[str, str]]) -> int:
            i, options = numbered
            given = {"data": options} if i % 2 else {"params": options}
            response = client.post(URL, files={"image": picture}, **given)  # type: ignore[arg-type]  # either
            assert response.status_code in (200, 422), (options, response.text)
            if response.status_code == 422:
                assert response.json()["type"] == "invalid-options"
                assert any(name in response.json()["detail"] for name in options)
            return response.status_code

        beside = threads.submit(neighbour)
        try:
            answers.update(threads.map(send, enumerate(sets)))
        finally:
            done.set()
        beside.result()
    if long:
        with capsys.disabled():
            print(f"\n{len(sets)} option sets: {dict(answers)}; {len(served)} neighbours beside them")
    assert sum(answers.values()) == len(sets)
    assert min(answers[200], answers[422]) > len(sets) / 10
    assert set(served) == {alone}
    assert ready == {200}
    assert "error" not in {entry["level"] for entry in server.log}
