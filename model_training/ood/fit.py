"""The command `intake`: after training, fits out-of-distribution detection on the features of a run's encoder, which
stays as it is: what tells chest radiographs from other pictures, inverted and turned ones from upright ones, and
frontal from lateral.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.inference.ood import OUTPUTS
from model_training.data import Study, read_collection
from model_training.data.arguments import add_data_arguments, open_collection
from model_training.metrics.ranking import auroc
from model_training.model.ood_head import OodHead
from model_training.model.report_model import VIEW_NAMES
from model_training.ood.examples import Amounts, Group, make_groups
from model_training.ood.linear_probe import fit_reading
from model_training.training.fitted_parts import save_ood_head
from model_training.training.run_folder import load_run

# On the squared weights of standardised features: what holds for sources and kinds it was not fitted on.
PENALTY, VIEW_PENALTY = 1.0, 1e-1
# Share of the upright films of any one source that may be refused or warned of wrongly; of phantoms and spoilt ones,
# some of which nobody would recognise.
WRONG, WRONG_IF_SPOILT = 0.005, 0.02  # of a few hundred films one in 500 would be the oddest alone
WRONG_VIEW = 0.01  # share of frontal films called lateral: more than of those refused, for a wrong view costs less
MISSED = 0.01  # share of the negatives that may be accepted

# Log odds below which no film is called turned: few are sent so.
TURNED_FROM = 1.0


def fit_ood(train: Sequence[Group], val: Sequence[Group]) -> dict[str, Any]:
    """Fits on the groups `train`, chooses thresholds on `val`.

    Returns the state dicts `head` and `view_head`, whether there were real `laterals`, the `outputs` by name, their
    `thresholds` (in logits), `figures` on `val`, and `fitted_on` (examples by group).
    """
    channels = train[0].features.shape[1]
    head, view_head = OodHead(channels), nn.Linear(channels, len(VIEW_NAMES))
    readings = (
        fit_reading(train, lambda group: int(group.chest), 1, PENALTY),
        fit_reading(train, lambda group: int(group.inverted) if group.chest else None, 1, PENALTY),
        fit_reading(train, lambda group: group.turns if group.chest else None, 4, PENALTY),
    )
    views = fit_reading(train, lambda group: VIEW_NAMES.index(group.view) if group.view else None, 2, VIEW_PENALTY)
    with torch.inference_mode():
        head.read.weight.copy_(torch.cat([reading.weight for reading in readings]))
        head.read.bias.copy_(torch.cat([reading.bias for reading in readings]))
        view_head.load_state_dict(views.state_dict())
        view_head.bias[1] -= view_cut(val, view_head)
        said = [(group, head.read(group.features)) for group in val]
        thresholds = choose_thresholds(said)
        figures = measure(said, thresholds)
        figures["views told"] = {
            group.name: _share(view_head(group.features).argmax(1) == VIEW_NAMES.index(group.view))
            for group in val
            if group.view
        }
    return {
        "head": head.state_dict(),
        "view_head": view_head.state_dict(),
        "laterals": any(group.real and group.view == "lateral" for group in train),
        "outputs": list(OUTPUTS),
        "thresholds": thresholds,
        "figures": figures,
        "fitted_on": {group.name: len(group.features) for group in train},
    }


def view_cut(val: Sequence[Group], view_head: nn.Linear) -> float:
    """The log odds from which on a film is lateral: what one in a hundred frontal films of a source reaches. Phantoms,
    from which lateral films are known, look more lateral than films, so that they would put it too far."""
    frontal = [view_head(group.features).diff(dim=1)[:, 0] for group in val if group.view == "frontal" and group.real]
    return max(float(odds.quantile(1 - WRONG_VIEW)) for odds in frontal)


def turn_margin(said: Tensor) -> Tensor:
    """By how much being turned is likelier than being upright, f32[N], of logits `OUTPUTS` f32[N,K]."""
    return said[:, 3:].amax(1) - said[:, 2]


def choose_thresholds(said: Sequence[tuple[Group, Tensor]]) -> dict[str, float]:
    """The logits from which on an image is accepted, called inverted, or turned, by what was said of each group.

    Accepted is half way between what all but a few upright films reach, spoilt ones and phantoms among them, and what
    all but `MISSED` of the negatives stay below; never more than what nearly all films of every source reach.
    """
    upright = [(logits, WRONG if group.real else WRONG_IF_SPOILT) for group, logits in said if group.upright]
    strange = torch.cat([logits[:, 0] for group, logits in said if not group.chest])
    reached = min(float(logits[:, 0].quantile(wrong)) for logits, wrong in upright)
    by_films = min(float(logits[:, 0].quantile(WRONG)) for group, logits in said if group.upright and group.real)
    accepted = min(by_films, (reached + float(strange.quantile(1 - MISSED))) / 2)
    inverted = max(float(logits[:, 1].quantile(1 - wrong)) for logits, wrong in upright)
    turned = max(float(turn_margin(logits).quantile(1 - wrong)) for logits, wrong in upright)
    return {"chest": accepted, "inverted": max(0.0, inverted), "turned": max(TURNED_FROM, turned)}


def measure(said: Sequence[tuple[Group, Tensor]], thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Shares by group that are accepted, and called inverted or turned, and the AUROC of upright films."""
    chest = [(group, logits) for group, logits in said if group.chest]
    ranked = [(group, logits) for group, logits in said if not group.chest or (group.upright and group.real)]
    films = torch.cat([torch.full((len(logits), 1), float(group.chest)) for group, logits in ranked])
    area = auroc(*(part.double().numpy() for part in (torch.cat([logits[:, :1] for _, logits in ranked]), films)))
    return {
        "auroc": round(float(area[0]), 4),
        "accepted": {group.name: _share(logits[:, 0] >= thresholds["chest"]) for group, logits in said},
        "called inverted": {g.name: _share(logits[:, 1] >= thresholds["inverted"]) for g, logits in chest},
        "called turned": {g.name: _share(turn_margin(logits) >= thresholds["turned"]) for g, logits in chest},
    }


def _share(true: Tensor) -> float:
    return round(float(true.float().mean()), 4)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training intake`."""
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished training run")
    add_data_arguments(parser)
    parser.add_argument(
        "--also", type=Path, action="append", default=[], metavar="FOLDER", help="a further collection of films"
    )
    parser.add_argument("--films", type=int, default=300, help="films a source, at most (default: 300)")
    parser.add_argument("--phantoms", type=int, default=200, help="phantom studies (default: 200)")
    parser.add_argument("--negatives", type=int, default=100, help="negatives a kind (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn (default: 0)")


def _films_of(folder: Path) -> Iterator[Study]:
    """The studies of a further collection whose views are known, as one source of its name. Raises OSError,
    ValueError."""
    collection = read_collection(folder)
    print(collection.origin("train", "val"))
    for study in collection.studies:
        if all(image.view for image in study.images):
            yield replace(study, source=study.source or collection.name)


def run(args: argparse.Namespace) -> int:
    """Writes `ood_head.pt` into the run, for `export` to find; prints what it is worth on validation."""
    model, _, _ = load_run(args.run)
    collection = open_collection(args)
    print(collection.origin("train", "val"))
    amounts = Amounts(args.films, args.phantoms, args.negatives)
    fewer = Amounts(args.films, -(-args.phantoms // 2), -(-args.negatives // 2))
    studies = [*collection.studies, *(study for folder in args.also for study in _films_of(folder))]
    train = make_groups(model, studies, amounts, "train", args.seed)
    val = make_groups(model, studies, fewer, "val", args.seed)
    fitted = fit_ood(train, val)
    save_ood_head(args.run, fitted)
    for what, figures in fitted["figures"].items():
        print(f"{what}: {figures}" if isinstance(figures, float) else f"\n{what}")
        for name, share in figures.items() if isinstance(figures, dict) else ():
            print(f"  {share:6.1%}  {name}")
    return 0
