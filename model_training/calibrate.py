"""The command `calibrate`: what a run's validation studies say of how sure its finding head may be.

Written to `<run>/calibration.json`, which `export` takes into the checkpoint: for each finding and for the whole
temperature and bias of its probability, the thresholds of the operating points, and below which it may be denied; and
the rule by which a report is called uncertain.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.inference.anatomy import Cells
from app.inference.files import write_atomically
from app.inference.manifest import FindingDecision
from app.inference.network.devices import choose_device
from app.inference.uncertainty import AbstainRule
from app.text.facts import ABNORMAL
from model_training.anatomy.places import PlaceShares, boxed_films, fit_places
from model_training.data.arguments import add_data_arguments, open_collection
from model_training.data.selection import select_studies
from model_training.evaluation.finding_scores import HeadOutput, decision_counts
from model_training.evaluation.operating_points import Fitted, fit_points
from model_training.evaluation.selective_prediction import COVERAGE, expected_gains
from model_training.metrics.agreement import FloatArray, f1
from model_training.metrics.calibration import fit_calibration
from model_training.training import fitted_parts, run_folder
from model_training.training.dataset import Examples
from model_training.training.run_folder import Calibration
from model_training.training.teachers import finding_logits

DENIAL_ERROR = 0.05


def fit(output: HeadOutput, sources: Sequence[str | None], denied: Sequence[str]) -> Calibration:
    """Fits everything to validation studies, `output` of the findings and behind them of the whole.

    Temperatures and biases count each source the same; thresholds are those of `operating_points.fit_points`. A finding
    of `denied` may be denied below the greatest probability at which no more than `DENIAL_ERROR` of the denied ones
    were there, and never from its balanced threshold on. A report is uncertain when its expected gain is among
    the least 1 - `COVERAGE`.
    """
    names, members = np.unique([source or "" for source in sources], return_inverse=True)
    weights = 1.0 / np.bincount(members, minlength=len(names))[members]
    temperatures, biases = fit_calibration(output.logits, output.targets, weights)
    probabilities = output.probabilities(temperatures, biases)
    probabilities[:, -1] = probabilities.max(axis=1)  # as `Decider` has it
    fitted = fit_points(output.names[:-1], probabilities, output.targets, members)
    decisions = [
        FindingDecision(
            name,
            temperature=round(float(temperatures[i]), 4),
            bias=round(float(biases[i]), 4),
            thresholds=fitted.thresholds(i),
            denied_below=_denied_below(i, probabilities, output.targets, fitted) if name in denied else None,
        )
        for i, name in enumerate(output.names)
    ]
    *findings, whole = decisions
    known = len(np.unique(output.targets[:, -1][~np.isnan(output.targets[:, -1])])) == 2
    abstain = _abstain(
        probabilities[:, :-1], fitted.decided("balanced", probabilities), output.targets[:, :-1], members
    )
    return Calibration(tuple(findings), whole if known else None, abstain, len(sources))


def _abstain(
    probabilities: FloatArray,
    decided: npt.NDArray[np.bool_],
    targets: FloatArray,
    sources: npt.NDArray[np.int64],
) -> AbstainRule:
    """The balance is the micro-F1 of the source where it is the lowest: against one of all sources together, every
    report on the harder one would lose, and those that state something the most."""

    def score(which: npt.NDArray[np.bool_]) -> float:
        return float(np.nan_to_num(f1(decision_counts(decided[which], targets[which]).sum(axis=0))))

    balance = round(min(score(sources == one) for one in np.unique(sources)), 4)
    gains = np.sort(expected_gains(probabilities, decided, balance))
    return AbstainRule(balance, round(float(gains[math.floor((1 - COVERAGE) * (len(gains) - 1))]), 6))


def _denied_below(i: int, probabilities: FloatArray, targets: FloatArray, fitted: Fitted) -> float:
    known = ~np.isnan(targets[:, i])
    order = np.argsort(probabilities[known, i])
    ranked, present = probabilities[known, i][order], targets[known, i][order]
    error = np.cumsum(present) / np.arange(1, len(present) + 1)
    allowed = np.flatnonzero(error <= DENIAL_ERROR)
    below = float(ranked[allowed[-1]]) if len(allowed) else 0.0
    return round(min(below, fitted.thresholds(i)["balanced"].probability), 4)


def with_places(calibration: Calibration, places: Mapping[str, PlaceShares]) -> Calibration:
    """The same, with the shares of the evidence from which on a finding's side and zone are said."""
    findings = [
        replace(one, side_from=places[one.name].side_from, zone_from=places[one.name].zone_from)
        for one in calibration.findings
    ]
    return replace(calibration, findings=tuple(findings))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training calibrate`."""
    parser.description = "Fit the finding head's probabilities and thresholds on the validation split."
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    add_data_arguments(parser)
    parser.add_argument("--cache", type=Path, help="folder for decoded images (default: in the run's)")


def run(args: argparse.Namespace) -> int:
    """Fits, writes and prints."""
    model, tokenizer, config = run_folder.load_run(args.run)
    collection = open_collection(args)
    print(collection.origin("val"))
    everyone, _ = select_studies(collection.split("val"), config.data)
    studies = [study for study in everyone if study.source in (config.data.natural or (study.source,))]
    if not studies:
        raise ValueError(f"{args.data} has no validation studies")
    cache = args.cache or args.run / "cache"
    examples = Examples(studies, [{}] * len(studies), tokenizer, config, model, cache)
    logits = finding_logits(model, examples, choose_device("auto")).double().numpy()
    output = HeadOutput((*config.data.findings, ABNORMAL), logits, examples.labels.double().numpy())
    fitted = fit(output, [study.source for study in studies], config.data.denied or config.data.findings)
    if anatomy := fitted_parts.load_anatomy_head(args.run, model):
        model.attach_anatomy_head(anatomy["head"])
        boxed = [study for study in everyone if any(image.boxes for image in study.images)]
        films = boxed_films(model, Examples(boxed, [{}] * len(boxed), tokenizer, config, model, cache))
        cells = Cells.of(model, model.image_size)
        fitted = with_places(fitted, fit_places(films, config.data.findings, cells))
    write_atomically(args.run / run_folder.CALIBRATION, fitted.to_json())
    print(f"{fitted.studies:,} validation studies: uncertain below an expected gain of {fitted.abstain.below:.2f}")
    return 0
