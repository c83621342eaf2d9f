"""The command `wording`: after training, fits a decoder that is told facts alone further, on reports composed for it.

It needs no image, so it can learn from twenty times as many reports as there are films.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from app.inference.memory import keep_freed_memory
from app.inference.network.decoder import ArchiveDecoder
from app.inference.options import DecodingOptions
from app.inference.search.beam_batch import search
from app.text.facts import DENIED, PASSED_OVER, Facts, consistent, stated
from app.text.findings import IMAGE_LABELS
from app.text.labeller import label_report
from app.text.tokenizer import BOS, EOS, PAD, Tokenizer
from model_training.data.pairing.composition import Composed, Composer
from model_training.data.pairing.reports import read_composer
from model_training.data.text.text_policy import sentences
from model_training.model.report_model import ReportModel
from model_training.progress import Progress
from model_training.training.dataset import prefetch
from model_training.training.fitted_parts import WORDING_PARTS, save_wording
from model_training.training.losses import targets_of, token_loss
from model_training.training.optimiser import moving_average, rate_factor, set_rates
from model_training.training.run_folder import load_run

STEPS, BATCH = 2000, 128
RATE, DECAY, WARM_UP, AVERAGING = 1e-3, 0.05, 0.05, 0.995
OWN = 0.2  # most reports as they were written are of healthy people, and all alike
HELD_OUT = 512  # reports drawn by another seed, that it is measured on


def fit_wording(
    model: ReportModel, tokenizer: Tokenizer, composer: Composer, limit: int, *, steps: int, seed: int
) -> None:
    """Fits the parts of the model that read facts and write words, in place: their weights are an average over steps.
    Reports are cut at `limit` tokens.

    Raises ValueError for a model whose decoder attends to images.
    """
    if model.conditioning != "facts":
        raise ValueError(
            f"its decoder attends to {model.conditioning}: only one that is told facts alone can be fitted so"
        )
    parts = nn.ModuleDict({name: model.get_submodule(name) for name in WORDING_PARTS})
    average = moving_average(parts, AVERAGING)
    optimiser = torch.optim.AdamW(parts.parameters(), lr=RATE, weight_decay=DECAY, betas=(0.9, 0.98))
    for group in optimiser.param_groups:
        group["initial_lr"] = RATE
    parts.train()
    torch.manual_seed(seed)
    with Progress("wording", steps, "step") as progress:
        for step, (tokens, facts) in enumerate(prefetch(draws(composer, tokenizer, steps, limit, seed))):
            loss = loss_of(model, tokens, facts)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
            set_rates(optimiser, rate_factor(step, steps, WARM_UP))
            optimiser.step()
            average.update_parameters(parts)
            progress.advance(f"loss {loss.item():.3f}")
    parts.load_state_dict(average.module.state_dict())
    parts.eval()


def draws(
    composer: Composer, tokenizer: Tokenizer, count: int, limit: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """`count` batches of reports: tokens i64[B,T] with bos, eos and padding, and the facts i64[B,F+1,3] they say."""
    for step in range(count):
        rng = random.Random(f"{seed} {step}")
        yield encoded([composer.drawn(rng, OWN) for _ in range(BATCH)], tokenizer, limit)


def encoded(reports: list[Composed], tokenizer: Tokenizer, limit: int) -> tuple[Tensor, Tensor]:
    """Reports as `draws` gives them, no longer than `limit` tokens behind bos."""
    ids = [torch.tensor([BOS, *tokenizer.encode(one.sections), EOS][: 1 + limit]) for one in reports]
    return (
        nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PAD),
        torch.tensor([one.facts for one in reports]),
    )


def loss_of(model: ReportModel, tokens: Tensor, facts: Tensor) -> Tensor:
    """The mean cross-entropy of a word."""
    nothing = torch.zeros(0)
    told, mask = model.decoder_memory(nothing, nothing, nothing, facts)
    targets = targets_of(tokens)
    return token_loss(model.decoder(tokens[:, :-1], told, mask), targets) / (targets != PAD).sum()


@torch.inference_mode()
def measure(
    model: ReportModel, tokenizer: Tokenizer, names: tuple[str, ...], told: Sequence[Facts], options: DecodingOptions
) -> dict[str, float]:
    """The share of facts that a report says in full and nothing else, by the rule labeller, and the share that makes it
    repeat a sentence within a section."""
    exact = repeating = 0
    model.eval()
    for start in range(0, len(told), BATCH):
        part = torch.tensor(told[start : start + BATCH])
        nothing = torch.zeros(len(part), 1, 1, model.memory_projection.out_features)
        seen, mask = torch.zeros(len(part), 1, 2), torch.ones(len(part), 1, dtype=torch.bool)
        found = search(ArchiveDecoder(model), model.begin(nothing, seen, mask, part), [options] * len(part))
        for facts, sequences in zip(told[start : start + BATCH], found, strict=True):
            sections = tokenizer.decode(sequences[0].ids)
            exact += says(sections, facts, names)
            repeating += any(len(set(said)) < len(said) for said in map(sentences, sections.values()))
    return {"exact": exact / len(told), "repeating": repeating / len(told)}


def decisions(composer: Composer) -> list[Facts]:
    """The facts of all decisions for at most two findings, somewhere, all others denied that may be; then of those for
    none, whatever is passed over, and for one, where one more is: what most studies come to."""
    names = composer.names
    deniable = {name: group for name, group in zip(names, composer.groups, strict=True) if name in composer.denied}
    groups = dict.fromkeys(deniable.values())

    def decided(there: Collection[str], passed_over: Collection[str] = ()) -> Facts:
        denied = {name for name, group in deniable.items() if group not in passed_over}
        known = [stated() if n in there else DENIED if n in denied else PASSED_OVER for n in names]
        return consistent([*known, stated() if there else DENIED], names)

    told = [decided(there) for count in range(3) for there in itertools.combinations(names, count)]
    told += [
        decided((), those) for count in range(1, 1 + len(groups)) for those in itertools.combinations(groups, count)
    ]
    told += [decided((there,), (group,)) for there in names for group in groups]
    return list(dict.fromkeys(told))


def says(sections: dict[str, str], facts: Facts, names: tuple[str, ...]) -> bool:
    """Whether the first section states and denies what the facts do and nothing else, and no other one more or else."""
    wanted: dict[str, str] = {}
    for name, fact in zip(names, facts, strict=False):
        if fact.stated or fact.denied:
            wanted[IMAGE_LABELS.get(name, name)] = "present" if fact.stated else "absent"
    groups = {IMAGE_LABELS.get(name, name) for name in names}
    said = [
        {group: mention.status for group, mention in label_report(text).items() if group in groups}
        for text in sections.values()
    ]
    first, *others = said or [{}]
    return first == wanted and all(part.items() <= wanted.items() for part in others)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training wording`."""
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished training run")
    parser.add_argument("--reports", type=Path, help="the reports to compose from (default: those of the run)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of {BATCH} reports each (default: {STEPS})")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Writes `wording.pt` into the run, for `export` to find; prints what it is worth."""
    keep_freed_memory()
    model, tokenizer, config = load_run(args.run)
    composer, composed_of = read_composer(args.reports or Path(config.data.reports), config.data, config.text)
    print(composed_of)
    rng = random.Random(f"{args.seed} held out")
    told: dict[str, list[Facts]] = {
        "draws": [composer.drawn(rng).facts for _ in range(HELD_OUT)],
        "decisions": decisions(composer),
    }
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for when in ("before", "after"):
        if when == "after":
            fit_wording(model, tokenizer, composer, config.model.max_new_tokens, steps=args.steps, seed=args.seed)
        figures[when] = {
            name: measure(model, tokenizer, composer.names, facts, config.decoding_options)
            for name, facts in told.items()
        }
    state = {name: value for name, value in model.state_dict().items() if name.split(".")[0] in WORDING_PARTS}
    save_wording(args.run, {"state": state, "figures": figures})
    for name, facts in told.items():
        for when, values in figures.items():
            found = values[name]
            print(
                f"{len(facts)} {name}, {when}: {found['exact']:.1%} said in full and nothing else, "
                f"{found['repeating']:.1%} with a sentence twice"
            )
    return 0
