"""Several evaluations in one table: ablations side by side, seeds of one run averaged."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from model_training.data.files import read_json, reading
from model_training.evaluation.baselines import CONSTANT
from model_training.evaluation.text_scores import MODEL
from model_training.reporting import columns
from model_training.reporting.tables import number, table

HEAD = {"mean AUROC": "AUROC", "mean ECE": "ECE"}


def row(evaluation: Mapping[str, Any], system: str = MODEL) -> dict[str, float | None]:
    """What an `evaluation.json` says of one system: its text scores, and of the model its finding and view heads."""
    tables = evaluation["details"]["tables"]
    scores = dict(next(iter(tables.values()))["scores"][system]) if tables else {}
    values = {key: scores.get(key) for key in columns.text()}
    if system == MODEL:
        head = evaluation["metrics"]["finding head"]
        values |= {shown: head.get(key) for key, shown in HEAD.items()}
        values["view accuracy"] = evaluation["metrics"]["view accuracy"]
    return values


def compare(evaluations: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Markdown table with one line a name, evaluations of the same name (seeds) as mean ± standard deviation.

    The best constant of the first evaluation leads the table. Says so when not all were made on the same studies.
    """
    groups: dict[str, list[dict[str, float | None]]] = {}
    for name, evaluation in evaluations:
        groups.setdefault(name, []).append(row(evaluation))
    first = evaluations[0][1]
    shown = tuple(dict.fromkeys(key for rows in groups.values() for one in rows for key in one))
    rows = {CONSTANT: {key: cell([value]) for key, value in row(first, CONSTANT).items()}} if has_text(first) else {}
    for name, seeds in groups.items():
        title = name if len(seeds) == 1 else f"{name}, {len(seeds)} seeds"
        rows[title] = {key: cell([seed.get(key) for seed in seeds]) for key in shown}
    sets = {describe(evaluation): name for name, evaluation in evaluations}
    note = (
        next(iter(sets))
        if len(sets) == 1
        else "NOT ON THE SAME STUDIES: " + "; ".join(f"{name}: {studies}" for studies, name in sets.items())
    )
    return f"{note}\n\n{table(rows, shown, cell=lambda text: text or 'n/a')}\n"


def has_text(evaluation: Mapping[str, Any]) -> bool:
    """Whether any report was scored."""
    return bool(evaluation["details"]["tables"])


def describe(evaluation: Mapping[str, Any]) -> str:
    """What an evaluation was made on."""
    metrics = evaluation["metrics"]
    text = f", {metrics['text']}" if "text" in metrics else ""
    return f"{metrics['collection']}, {metrics['split']}, {metrics['studies']} studies{text}"


def cell(values: Sequence[float | None]) -> str:
    """One value, or the mean and standard deviation of several; n/a where one is missing."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    if len(known) < len(values) or not known:
        return "n/a"
    return number(known[0]) if len(known) == 1 else f"{number(fmean(known))} ± {number(stdev(known))}"


def _read_evaluation(path: Path) -> dict[str, Any]:
    """An `evaluation.json` that has all that is compared. Raises OSError and `UnreadableFileError`."""
    content: dict[str, Any] = read_json(path)
    with reading(path, "not what `evaluate` writes"):
        compare([("", content)])
    return content


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training compare`."""
    parser.add_argument("evaluations", nargs="+", metavar="NAME=FILE", help="evaluation.json; a name again is a seed")
    parser.add_argument("--out", type=Path, help="also write the table there")


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    evaluations: list[tuple[str, Mapping[str, Any]]] = []
    for given in args.evaluations:
        name, equals, path = given.partition("=")
        if not equals:
            raise ValueError(f"{given} does not name an evaluation as NAME=FILE")
        evaluations.append((name, _read_evaluation(Path(path))))
    text = compare(evaluations)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)
    print(text, end="")
    return 0
