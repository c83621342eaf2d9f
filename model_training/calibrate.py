"""The command `calibrate`: what a run's validation studies say of how sure its finding head may be.

Written to `<run>/calibration.json`, which `export` takes into the checkpoint: for each finding the temperature of its
probability; the probabilities from which on it is stated and below which it may be denied; and the rule by which a
report is called uncertain.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.inference.files import write_atomically
from app.inference.network.devices import choose_device
from model_training.data.arguments import add_data_arguments, open_collection
from model_training.data.selection import select_studies
from model_training.evaluation.finding_scores import HeadOutput, decision_counts
from model_training.evaluation.selective_prediction import COVERAGE, expected_gains
from model_training.metrics.agreement import FloatArray, f1
from model_training.metrics.calibration import fit_temperatures
from model_training.training import run_folder
from model_training.training.dataset import Examples
from model_training.training.teachers import finding_logits

CANDIDATES = np.linspace(0.01, 0.99, 197)
DENIAL_ERROR = 0.05
BALANCES = tuple(np.arange(0.1, 1.0, 0.05).round(2).tolist())


@dataclass(frozen=True, slots=True)
class Fitted:
    """Of a finding head: the temperature of each finding; the probabilities from which on findings are stated and below
    which they may be denied; balance and bar of the rule for uncertain reports (`app.inference.uncertainty`)."""

    temperatures: dict[str, float]
    threshold: float
    denied_below: float
    balance: float
    uncertain_below: float
    studies: int


def fit(output: HeadOutput, sources: Sequence[str | None]) -> Fitted:
    """Fits everything to validation studies.

    Calibrated probabilities can be compared, so one threshold serves all findings: that of the highest micro-F1 over
    all decisions, each source counting the same. A finding may be denied below the greatest probability at which no
    more than `DENIAL_ERROR` of the denied ones were there, all decisions counting the same. A report is uncertain when
    its expected gain is among the least 1 - `COVERAGE`, sources again counting the same; the balance is the one of
    `BALANCES` by which leaving out that share of each source leaves the highest micro-F1.
    """
    names, members = np.unique([source or "" for source in sources], return_inverse=True)
    weights = 1.0 / np.bincount(members, minlength=len(names))[members]
    temperatures = fit_temperatures(output.logits, output.targets, weights)
    probabilities = output.probabilities(temperatures)
    parts = [(probabilities[members == i], output.targets[members == i]) for i in range(len(names))]
    scores = np.mean([_micro_f1(*part) for part in parts], axis=0)
    threshold = float(CANDIDATES[np.argmax(scores)])
    denied_below = min(threshold, _denied_below(probabilities, output.targets))
    stated = probabilities >= threshold
    left = [_left_f1(expected_gains(probabilities, stated, b), stated, output.targets, members) for b in BALANCES]
    balance = BALANCES[int(np.argmax(left))]
    gains = expected_gains(probabilities, stated, balance)
    order = np.argsort(gains)
    share = np.cumsum(weights[order]) / weights.sum()
    bar = float(gains[order][np.searchsorted(share, 1 - COVERAGE)])
    fitted = dict(zip(output.names, temperatures.tolist(), strict=True))
    return Fitted(fitted, threshold, denied_below, balance, bar, len(sources))


def _micro_f1(probabilities: FloatArray, targets: FloatArray) -> FloatArray:
    """Of the decisions at each of `CANDIDATES`; 0 where nothing is labelled present."""
    counts = [decision_counts(probabilities >= candidate, targets).sum(axis=0) for candidate in CANDIDATES]
    return np.nan_to_num(f1(np.array(counts)))


def _left_f1(
    gains: FloatArray, stated: npt.NDArray[np.bool_], targets: FloatArray, members: npt.NDArray[np.intp]
) -> float:
    """The mean over sources of the micro-F1 of what is stated in their `COVERAGE` of greatest gain."""
    scores = []
    for source in np.unique(members):
        own = np.flatnonzero(members == source)
        kept = own[np.argsort(-gains[own], kind="stable")[: math.ceil(COVERAGE * len(own))]]
        scores.append(np.nan_to_num(f1(decision_counts(stated[kept], targets[kept]).sum(axis=0))))
    return float(np.mean(scores))


def _denied_below(probabilities: FloatArray, targets: FloatArray) -> float:
    """The greatest probability below which `DENIAL_ERROR` of the labelled findings were present."""
    known = ~np.isnan(targets)
    order = np.argsort(probabilities[known])
    ranked, present = probabilities[known][order], targets[known][order]
    error = np.cumsum(present) / np.arange(1, len(present) + 1)
    allowed = np.flatnonzero(error <= DENIAL_ERROR)
    return float(ranked[allowed[-1]]) if len(allowed) else 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training calibrate`."""
    parser.description = "Fit the finding head's temperatures and thresholds on the validation split."
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    add_data_arguments(parser)
    parser.add_argument("--cache", type=Path, help="folder for decoded images (default: in the run's)")


def run(args: argparse.Namespace) -> int:
    """Fits, writes and prints."""
    model, tokenizer, config = run_folder.load_run(args.run)
    collection = open_collection(args)
    print(collection.origin("val"))
    studies, _ = select_studies(collection.split("val"), config.data)
    if not studies:
        raise ValueError(f"{args.data} has no validation studies")
    texts = [dict[str, str]()] * len(studies)
    examples = Examples(studies, texts, tokenizer, config, model, args.cache or args.run / "cache")
    device = choose_device("auto")
    logits = finding_logits(model, examples, device).double().numpy()
    output = HeadOutput(config.data.findings, logits, examples.labels.double().numpy())
    fitted = fit(output, [study.source for study in studies])
    content = json.dumps(asdict(fitted), indent=1) + "\n"
    write_atomically(args.run / run_folder.CALIBRATION, content.encode())
    print(
        f"{fitted.studies:,} validation studies: stated from {fitted.threshold:.2f}, denied below"
        f" {fitted.denied_below:.2f}; uncertain below an expected gain of {fitted.uncertain_below:.2f} with balance"
        f" {fitted.balance:.2f}"
    )
    return 0
