"""Beam search against its oracle: Hugging Face `generate` on tiny models with random weights and random options."""

from __future__ import annotations

import inspect
import itertools
import random
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BartForConditionalGeneration
from transformers.generation import utils as generation_utils
from transformers.generation.utils import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from app.inference.options import DecodingOptions
from app.inference.search.beam_search import BeamSearch
from app.inference.search.beam_tables import TokenSequence
from app.text.tokenizer import EOS, PAD
from benchmarks.peers.huggingface import bart, generate

WIDTH = 16
MAX_TOKENS = 24


def random_options(rng: random.Random) -> DecodingOptions:
    beams = rng.choice([1, 2, 3, 4, 8])
    longest = rng.choice([1, 5, 12, MAX_TOKENS])
    return DecodingOptions(
        num_beams=beams,
        num_return_sequences=rng.randint(1, beams),
        length_penalty=rng.choice([0.0, 0.5, 1.0, 2.0, -1.0]),
        early_stopping=rng.choice([True, False, "never"]),
        max_new_tokens=longest,
        min_new_tokens=rng.choice([0, 0, min(3, longest)]),
        no_repeat_ngram_size=rng.choice([0, 0, 2, 3]),
        repetition_penalty=rng.choice([1.0, 1.0, 1.3, 0.8]),
    )


def random_model(rng: random.Random) -> BartForConditionalGeneration:
    model = bart(
        vocabulary=rng.choice([12, 20, 50]),
        width=WIDTH,
        layers=1,
        heads=2,
        inner=WIDTH,
        positions=64,
        spread=rng.choice([0.02, 0.5, 1.0]),
    )
    with torch.no_grad():
        if rng.random() < 0.2:
            model.model.shared.weight.zero_()  # every continuation ties with every other
        model.final_logits_bias.normal_(0.0, rng.choice([0.0, 1.0]))
        model.final_logits_bias[0, EOS] += rng.choice([0.0, 1.0, 2.0])
    return model


def oracle(model: BartForConditionalGeneration, memory: Tensor, options: DecodingOptions) -> Any:
    arguments = options.as_dict()
    unused = ["length_penalty", "early_stopping"] if options.num_beams == 1 else []
    unused += [name for name in ("no_repeat_ngram_size", "min_new_tokens") if not arguments[name]]
    for name in unused:
        del arguments[name]
    return generate(model, memory, return_dict_in_generate=True, output_scores=True, **arguments)


def searched_together(
    model: BartForConditionalGeneration, memories: list[Tensor], options: list[DecodingOptions]
) -> list[list[TokenSequence]]:
    """All studies of one width in one search, without a cache: whole prefixes through the network at every step.

    One joins at each of the first steps, so that they are at different positions.
    """
    search = BeamSearch(options[0].num_beams, len(options), MAX_TOKENS, torch.device("cpu"))
    running: list[int] = []
    found: dict[int, list[TokenSequence]] = {}
    for step in itertools.count():
        if step < len(options):
            search.admit([options[step]])
            running.append(step)
        if not search.size:
            break
        past = search.tokens.gather(1, search.ancestors)
        logits = [
            model(
                encoder_outputs=BaseModelOutput(last_hidden_state=memories[study].expand(search.beams, -1, -1)),
                decoder_input_ids=past[slot, :, : step + 1 - study],  # it joined at the step of its number
            ).logits[:, -1]
            for slot, study in enumerate(running)
        ]
        search.advance(torch.stack(logits))
        finished, _ = search.outcome()
        for slot, sequences in zip(finished, search.sequences(finished), strict=True):
            found[running[slot]] = sequences
        running = [running[slot] for slot in search.release(finished)]
    return [found[i] for i in range(len(options))]


@pytest.fixture
def oracle_of_any_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """`generate` with its sentinel among scores lowered as ours: at strong penalties scores lie below -1e9, where its
    own arithmetic takes them for sequences that are not there. Totals keep theirs."""
    lowered = f"(-1.0e9 * {float(MAX_TOKENS)} ** max(0.0, -1.0 - length_penalty))"
    for name, sentinel in (
        ("_update_finished_beams", "-1.0e9"),
        ("_check_early_stop_heuristic", "-1.0e9"),
        ("_beam_search", "fill_value=-1e9"),
    ):
        source = textwrap.dedent(inspect.getsource(getattr(GenerationMixin, name)))
        assert sentinel in source
        made: dict[str, Any] = {}
        source = source.replace(sentinel, sentinel.replace("-1.0e9", lowered).replace("-1e9", lowered))
        exec(source, vars(generation_utils), made)  # noqa: S102  # the oracle's own words
        monkeypatch.setattr(GenerationMixin, name, made[name])


def at_an_end(rng: random.Random) -> DecodingOptions:
    return replace(random_options(rng), length_penalty=rng.choice([-10.0, -9.5, -7.0, -5.0, -4.0, 4.0, 7.0, 10.0]))


@pytest.mark.usefixtures("oracle_of_any_score")
@pytest.mark.parametrize("seed", range(300))
def test_the_ends_of_length_penalty_are_those_of_generate(seed: int) -> None:
    """At the penalties where scores are largest and smallest, too, with every kind of early stopping."""
    compare_with_oracle(seed, at_an_end)


@pytest.mark.parametrize("seed", range(300))
def test_tokens_and_scores_are_those_of_generate(seed: int) -> None:
    """Three studies with their own options in one search get what `generate` gives each of them alone."""
    compare_with_oracle(seed, random_options)


def compare_with_oracle(seed: int, draw: Callable[[random.Random], DecodingOptions]) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    model = random_model(rng)
    first = draw(rng)
    options = [first]
    while len(options) < 3:
        other = draw(rng)
        if other.num_beams == first.num_beams:
            options.append(other)
    memories = [torch.randn(1, 5, WIDTH) for _ in options]
    with torch.inference_mode():
        found = searched_together(model, memories, options)
        for study, memory, chosen in zip(found, memories, options, strict=True):
            expected = oracle(model, memory, chosen)
            assert len(study) == chosen.num_return_sequences
            for i, sequence in enumerate(study):
                ids = expected.sequences[i, 1 : len(sequence.ids) + 1].tolist()
                rest = expected.sequences[i, len(sequence.ids) + 1 :].tolist()
                assert (list(sequence.ids), set(rest) <= {PAD, EOS}) == (ids, True)
                if chosen.num_beams > 1:
                    near = 1e-4 if abs(chosen.length_penalty) <= 2 else 0.0
                    assert sequence.score == pytest.approx(float(expected.sequences_scores[i]), rel=1e-4, abs=near)


def test_score_is_the_sum_of_token_log_probabilities_over_length_to_the_penalty() -> None:
    """The contract's formula holds for every returned sequence, and they come best first."""
    rng = random.Random(5)
    torch.manual_seed(5)
    model = random_model(rng)
    options = DecodingOptions(num_beams=4, num_return_sequences=4, length_penalty=0.7, max_new_tokens=20)
    with torch.inference_mode():
        (found,) = searched_together(model, [torch.randn(1, 5, WIDTH)], [options])
    scores = [sequence.score for sequence in found]
    assert scores == sorted(scores, reverse=True)
    for sequence in found:
        assert sequence.score == pytest.approx(sum(sequence.log_probabilities) / len(sequence.ids) ** 0.7, abs=1e-5)


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("penalty", [-10.0, -4.0, 0.0, 10.0])
def test_the_formula_holds_for_whole_reports(penalty: float, beams: int) -> None:
    """Also of a hundred tokens, the length of a report, at the ends of the range."""
    torch.manual_seed(1)
    search = BeamSearch(beams, 1, 100, torch.device("cpu"))
    options = DecodingOptions(beams, beams, length_penalty=penalty, min_new_tokens=90, max_new_tokens=100)
    search.admit([options])
    while not search.outcome()[0]:
        search.advance(torch.randn(1, beams, 30))
    (found,) = search.sequences([0])
    for sequence in found:
        assert 90 <= len(sequence.ids) <= 100
        assert sequence.score == pytest.approx(sum(sequence.log_probabilities) / len(sequence.ids) ** penalty, rel=1e-4)
