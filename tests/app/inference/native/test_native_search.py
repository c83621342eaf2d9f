"""The compiled step of the beam search against the tensor program: the same tables, bit by bit."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from app.inference.native.library import Library, library, runnable
from app.inference.options import DecodingOptions
from app.inference.search.beam_search import BeamSearch
from app.inference.search.native_search import NativeChoice

pytestmark = pytest.mark.skipif(not runnable(), reason="no compiled step is built for this processor")

TOKENS = 14


def searches(beams: int, studies: int, name: str) -> tuple[BeamSearch, BeamSearch]:
    """One that is compiled, and the tensor program."""
    compiled, plain = (BeamSearch(beams, studies, TOKENS, torch.device("cpu")) for _ in "ab")
    built = library(name)
    assert isinstance(built, Library)
    compiled._native, plain._native = NativeChoice(compiled, built), None
    return compiled, plain


def random_options(rng: random.Random, beams: int) -> DecodingOptions:
    longest = rng.choice([1, 5, TOKENS])
    return DecodingOptions(
        num_beams=beams,
        length_penalty=rng.choice([0.0, 1.0, 2.5, -1.0, -4.0]),
        early_stopping=rng.choice([True, False, "never"]),
        max_new_tokens=longest,
        min_new_tokens=rng.choice([0, 0, min(4, longest)]),
        no_repeat_ngram_size=rng.choice([0, 0, 1, 2, 3, TOKENS]),
        repetition_penalty=rng.choice([1.0, 1.0, 1.3, 0.8]),
    )


def random_logits(rng: random.Random, studies: int, beams: int, words: int) -> Tensor:
    """Some with many equal numbers, some with words that are never said, some that lean to the end of the text."""
    logits = torch.randn(studies, beams, words) * rng.choice([0.3, 3.0])
    if rng.random() < 0.4:
        logits = logits.round()
    logits[..., 2] += rng.choice([0.0, 2.0])
    logits[..., [0, 1, 3]] = float("-inf")
    return logits


@torch.inference_mode()
@pytest.mark.parametrize("name", runnable())
@pytest.mark.parametrize("seed", range(40))
def test_tables_are_those_of_the_tensor_program(name: str, seed: int) -> None:
    """Studies that come one after the other, with options of all kinds, small and large vocabularies, ties: after every
    step all that is known of each is the same, and so are the sequences."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    beams, words = rng.choice([1, 2, 3, 4, 8]), rng.choice([30, 100, 587, 1200])
    compiled, plain = searches(beams, 4, name)
    left = 7
    while left or plain.size:
        if left and plain.size < 4:
            options = [random_options(rng, beams)]
            left -= 1
            assert compiled.admit(options) == plain.admit(options)
        logits = random_logits(rng, plain.size, beams, words)
        compiled.advance(logits.clone())
        plain.advance(logits.clone())
        n = plain.size
        for attribute in (
            "tokens",
            "scores",
            "log_probs",
            "done",
            "done_scores",
            "finished",
            "positions",
            "non_finite",
        ):
            one, other = getattr(compiled, attribute)[:n], getattr(plain, attribute)[:n]
            torch.testing.assert_close(one, other, rtol=0, atol=0, msg=attribute)
        finished, _ = plain.outcome()
        assert compiled.outcome()[0] == finished
        assert compiled.sequences(finished) == plain.sequences(finished)
        assert compiled.release(finished) == plain.release(finished)


@torch.inference_mode()
@pytest.mark.parametrize("name", runnable())
@pytest.mark.parametrize("beams", [1, 4])
def test_what_is_no_number_is_said_of_its_study(name: str, beams: int) -> None:
    """Of three studies one has no numbers, one has infinity: those two are named, the third goes on."""
    compiled, _ = searches(beams, 3, name)
    compiled.admit([DecodingOptions(beams)] * 3)
    logits = torch.randn(3, beams, 50)
    logits[0, 0, 7], logits[2] = float("nan"), float("inf")
    compiled.advance(logits)
    assert sorted(compiled.outcome()[1]) == [0, 2]
