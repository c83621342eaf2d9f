"""The command `anatomy`: after training, fits what finds lungs and heart in an image, on films with masks.

The head looks at the image itself: one fitted to a run is as good for any other. Some of the patients of the training
split are kept for validation; the test split is looked at only where that is asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from app.inference.chest import find_chest, outline, profile
from app.inference.preprocessing import to_unit_range
from model_training.anatomy.examples import FilmBank, draw_examples
from model_training.anatomy.films import DRAWN, Listed, MaskedFilm, list_films, read_films
from model_training.model.anatomy_head import AnatomyHead
from model_training.progress import Progress
from model_training.training.fitted_parts import save_anatomy_head
from model_training.training.optimiser import moving_average, rate_factor, set_rates
from model_training.training.run_folder import load_run

HELD_OUT = 0.15  # of the training split's patients, for validation
EPOCHS, BATCH = 200, 16
RATE, DECAY, WARM_UP, AVERAGING = 6e-3, 1e-2, 0.1, 0.99
OUTLINES = 0.5  # weight of their loss
_TINY = 1e-4

Network = Callable[[Tensor], Tensor]


def hold_out(films: Sequence[Listed], seed: int) -> tuple[list[Listed], list[Listed]]:
    """Those to fit on and those of `HELD_OUT` of the patients, at random but the same ones for a seed.

    Raises ValueError where that leaves no patient for either.
    """
    patients = sorted({film.patient for film in films})
    count = max(1, round(HELD_OUT * len(patients)))
    if len(patients) <= count:
        raise ValueError(f"masks of {len(patients)} patients are too few to fit on some and keep some for validation")
    kept = {patients[i] for i in np.random.default_rng(seed).permutation(len(patients))[:count]}
    return [film for film in films if film.patient not in kept], [film for film in films if film.patient in kept]


def fit_head(films: Sequence[MaskedFilm], image_size: int, *, epochs: int, seed: int) -> AnatomyHead:
    """Fits by cross-entropy and Dice loss (Milletari et al. 2016, arXiv:1606.04797); its weights are an average over
    steps. `image_size` is the side of the images that it is to be given."""
    bank, rng = FilmBank.of(films), torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # Of images as small as it works at: they come at all resolutions.
        head = AnatomyHead(0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types it for tensors alone
    average = moving_average(head, AVERAGING)
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    for group in optimiser.param_groups:
        group["initial_lr"] = RATE
    batches = -(-len(films) // BATCH)
    with Progress("anatomy", epochs * batches, "step") as progress:
        for step in range(epochs * batches):
            if step % batches == 0:
                order = torch.randperm(len(films), generator=rng)
            images, shares = draw_examples(bank, order[step % batches :: batches], rng)
            loss = loss_of(head(images), shares)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            set_rates(optimiser, rate_factor(step, epochs * batches, WARM_UP))
            optimiser.step()
            average.update_parameters(head)
            progress.advance(f"loss {loss.item():.3f}")
    fitted = AnatomyHead(image_size)
    fitted.load_state_dict(average.module.state_dict() | dict(head.named_buffers()))
    return fitted.eval().requires_grad_(False)


def loss_of(logits: Tensor, shares: Tensor) -> Tensor:
    """Of logits f32[B,C,A,A] against shares of `STRUCTURES` f32[B,C,A,A].

    Cross-entropy, by cell and of the outlines; and 1 - Dice of each structure that masks draw, over the whole batch, so
    that films without any count.
    """
    found = logits.softmax(1)
    crossed = F.cross_entropy(logits, shares)
    outlines = [
        F.binary_cross_entropy(part.clamp(_TINY, 1 - _TINY), truth)
        for part, truth in zip(_outlined(found), _outlined(shares), strict=True)
    ]
    drawn = slice(1, len(DRAWN))
    both = (found * shares).sum((0, 2, 3))[drawn]
    either = (found.square() + shares.square()).sum((0, 2, 3))[drawn]
    return crossed + (1 - (2 * both + 1) / (either + 1)).mean() + OUTLINES * torch.stack(outlines).mean()


def _outlined(shares: Tensor) -> tuple[Tensor, ...]:
    """What widths and heights are measured by: profiles of the heart and all structures across, of the lungs down."""
    drawn = shares[:, 1 : len(DRAWN)]
    return profile(drawn[:, 2], 1), profile(drawn.sum(1).clamp(max=1), 1), profile(drawn[:, :2], 3)


@torch.inference_mode()
def measure(head: Network, preprocess: Network, films: Sequence[MaskedFilm]) -> dict[str, Any]:
    """What the head, images f32[B,1,S,S] to logits, is worth on films as the service sees them.

    Dice by structure, the mean over films; how many show no chest to it; of the others the error of the cardiothoracic
    ratio against that of the mask.
    """
    classes = FilmBank.of(films).classes
    overlaps, errors = [], []
    for film, truth in zip(films, classes, strict=True):
        logits = head(preprocess(to_unit_range(film.pixels))[None])
        found = F.interpolate(logits, list(truth.shape[1:]), mode="bilinear", align_corners=False).argmax(1)
        overlaps.append([_dice(found == i, truth == i) for i in range(1, len(DRAWN))])
        mask = torch.from_numpy(film.mask)
        chest, true_chest = find_chest(logits[0]), outline(*((mask == i).float() for i in range(1, len(DRAWN))))
        if chest and true_chest:
            errors.append(chest.cardiothoracic_ratio - true_chest.cardiothoracic_ratio)
    means = torch.tensor(overlaps).mean(0).tolist()
    off = torch.tensor(errors)
    return {
        "films": len(films),
        "dice": {name: round(value, 4) for name, value in zip(DRAWN[1:], means, strict=True)},
        "silent": len(films) - len(errors),
        "cardiothoracic ratio": {
            "mean absolute error": round(float(off.abs().mean()), 4),
            "mean error": round(float(off.mean()), 4),
            "95th percentile": round(float(off.abs().quantile(0.95)), 4),
        }
        if errors
        else {},
    }


def _dice(found: Tensor, truth: Tensor) -> float:
    either = int(found.sum() + truth.sum())
    return 2 * int((found & truth).sum()) / either if either else 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training anatomy`."""
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished training run")
    parser.add_argument("--masks", type=Path, required=True, help="folder of films with masks of lungs and heart")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"passes over the films (default: {EPOCHS})")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn (default: 0)")
    parser.add_argument("--test", action="store_true", help="look at the test split, too")


def run(args: argparse.Namespace) -> int:
    """Writes `anatomy_head.pt` into the run, for `export` to find; prints what it is worth."""
    model, _, _ = load_run(args.run)
    listed = list_films(args.masks)
    fitted_on, kept = hold_out([film for film in listed if film.split == "train"], args.seed)
    head = fit_head(read_films(fitted_on), model.image_size, epochs=args.epochs, seed=args.seed)
    figures = {"validation": measure(head, model.preprocess, read_films(kept))}
    if args.test and (test := [film for film in listed if film.split == "test"]):
        figures["test"] = measure(head, model.preprocess, read_films(test))
    content: Mapping[str, Any] = {"head": head.state_dict(), "figures": figures, "fitted_on": len(fitted_on)}
    save_anatomy_head(args.run, content)
    print(f"fitted on {len(fitted_on):,} films of the training split")
    for split, values in figures.items():
        print(f"{split}: {describe(values)}")
    return 0


def describe(figures: Mapping[str, Any]) -> str:
    """The figures of `measure` on one line."""
    dice = ", ".join(f"{name} {value:.3f}" for name, value in figures["dice"].items())
    ratio = figures["cardiothoracic ratio"]
    error = f"cardiothoracic ratio off by {ratio['mean absolute error']:.3f} on average" if ratio else "no ratio"
    return f"{figures['films']:,} films, {figures['silent']:,} of them without a chest; Dice {dice}; {error}"
