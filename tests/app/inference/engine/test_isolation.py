"""What one study's own options raise fails that study alone, and says that it is its own fault."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from app.inference.errors import GenerationError, StudyError
from app.inference.generator import Generator
from app.inference.options import DecodingOptions
from app.inference.search import beam_search, beam_tables
from app.report import Report

GOOD = DecodingOptions(num_beams=3, min_new_tokens=30, max_new_tokens=40)
FATAL_SIZE = 7  # of n-grams, in these tests


@pytest.fixture
def generator(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Generator]:
    """Searching by the tensor program, which can raise; the compiled search has nothing to raise."""
    monkeypatch.setattr(beam_search, "library", lambda: None)
    generator = Generator.load(tiny_checkpoint, device="cpu")
    yield generator
    generator.close()


def beyond(option: str, value: object) -> DecodingOptions:
    """Options that no check has seen."""
    options = DecodingOptions(num_beams=3, min_new_tokens=30, max_new_tokens=40)
    object.__setattr__(options, option, value)
    return options


def submit_all(generator: Generator, options: list[DecodingOptions]) -> list[Future[Report]]:
    """Past `submit`, which is the first wall and lets none of them in."""
    rng = np.random.default_rng(0)
    return [generator._submit([rng.integers(0, 256, (64, 64), dtype=np.uint8)], one) for one in options]


def texts(report: Report) -> list[str]:
    return [hypothesis.text for hypothesis in report.hypotheses]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("repetition_penalty", "one"),
        ("length_penalty", None),
        ("min_new_tokens", 10**400),
        ("no_repeat_ngram_size", [3]),
    ],
)
def test_options_that_no_tensor_holds(generator: Generator, option: str, value: object) -> None:
    """Admission fails for the study that has them; those admitted with it and those in flight go on."""
    expected = [texts(future.result()) for future in submit_all(generator, [GOOD] * 4)]
    mixed = submit_all(generator, [GOOD, GOOD, beyond(option, value), GOOD])
    for i in (0, 1, 3):
        assert texts(mixed[i].result(60)) == expected[i]
    with pytest.raises(StudyError):
        mixed[2].result(60)
    assert generator.alive


def test_options_that_a_step_fails_at(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that raises for one study's options is taken by the others, with the tokens they get alone."""

    def failing(scores: Tensor, past: Tensor, lengths: Tensor, size: int, chosen: Tensor) -> Tensor:
        if size == FATAL_SIZE:
            raise RuntimeError("value cannot be converted")
        return scores

    monkeypatch.setattr(beam_search, "without_repeats", failing)
    expected = [texts(future.result()) for future in submit_all(generator, [GOOD] * 4)]
    mixed = submit_all(generator, [GOOD, beyond("no_repeat_ngram_size", FATAL_SIZE), GOOD, GOOD])
    for i in (0, 2, 3):
        assert texts(mixed[i].result(60)) == expected[i]
    with pytest.raises(StudyError):
        mixed[1].result(60)


def test_a_step_that_fails_for_all_is_nobodys_fault(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails whatever the options is the engine's failure, and counts as such."""

    def failing(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(beam_search.BeamSearch, "_write", failing)
    for future in submit_all(generator, [GOOD] * 2):
        with pytest.raises(GenerationError) as caught:
            future.result(60)
        assert not isinstance(caught.value, StudyError)


def test_a_size_beyond_the_tables_never_acts(generator: Generator) -> None:
    """An n-gram longer than any report repeats nowhere, however long."""
    plain, large = submit_all(generator, [GOOD, beyond("no_repeat_ngram_size", 2**64)])
    assert texts(plain.result(60))
    assert texts(large.result(60))
    tables = beam_tables.BeamTables(2, 1, 8, generator.device)
    tables.admit([DecodingOptions(2, no_repeat_ngram_size=9)])
    assert (tables.ngram_sizes, tables.plain) == (set(), True)
