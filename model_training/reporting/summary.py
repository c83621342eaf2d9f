"""The figures of an evaluation as Markdown tables, and as values JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model_training.reporting import columns
from model_training.reporting.columns import ABSTAINING, ACCEPTED, FINDING, HEAD, POINTING, TEXT_OF_LABELS
from model_training.reporting.tables import Rows, beside_bounds, interval, number, table

PLOT = "risk-coverage.png"

_SCORERS = (
    "BLEU, METEOR 1.5, ROUGE-L and CIDEr: pycocoevalcap on cleaned text; sacreBLEU: cased, on the original text. "
    "Labels: rule labeller against the studies' MeSH codes, else against their own text. Shares of the reports: "
    "distinct, copied verbatim from training, speaking of a prior examination. n/a: undefined, or METEOR without Java."
)


def beside(rows: Rows) -> dict[str, dict[str, Any]]:
    """The scores that tell seeing from memorisation, of the model and of everything that must stand beside it."""
    return {name: {key: row[key] for key in columns.headline() if key in row} for name, row in rows.items()}


def markdown(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """The whole evaluation."""
    options = ", ".join(f"{name} {value}" for name, value in metrics["options"].items())
    parts = [
        f"# {metrics['checkpoint']} on {metrics['collection']}, {metrics['split']}",
        f"{metrics['studies']} studies, images a study: at most {metrics['views']}; {options}.",
    ]
    if details["left out"]:
        parts.append(f"Left out: {left_out(details['left out'])}.")
    scores = [*columns.text(), *columns.memorisation()]
    for title, part in details["tables"].items():
        parts += [f"## {title}", f"{part['studies']} studies.", table(part["scores"], scores)]
        if title in details["differences"]:
            parts += ["Minus the best constant, with paired bootstrap 95% intervals:"]
            parts += [table(details["differences"][title], columns.headline(), cell=interval)]
    parts += [_SCORERS] if details["tables"] else ["No text was compared with a report: there are none."]
    for name, part in details["groups"].items():
        parts += [f"## {name.capitalize()} studies alone", f"{part['studies']} studies, scored as in the first table."]
        parts += [table(part["scores"], columns.group(name == "normal"))]
    if details["frontal only"]:
        part = details["frontal only"]
        parts += ["## Frontal images only", f"{part['studies']} studies that have one, scored as in the first table."]
        parts += [table(part["scores"], scores)]
    return "\n\n".join([*parts, *_heads(metrics, details)]) + "\n"


def _heads(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> Iterable[str]:
    """Finding head, view head and abstaining."""
    head = metrics["finding head"]
    mean = {key: head.get(f"mean {key}") for key in FINDING}
    yield "## Finding head"
    yield ("Calibrated as the checkpoint is, on validation studies. Before is at temperature 1. ECE: 15 equal bins.")
    yield table({**details["findings"], "mean": mean}, FINDING)
    low, high = number(head["mean AUROC low"]), number(head["mean AUROC high"])
    yield (
        f"Micro-F1 {number(head['micro-F1'])}. Mean AUROC {number(head['mean AUROC'])} ({low} to {high}, bootstrap "
        f"95%). View accuracy {number(metrics['view accuracy'])}."
    )
    yield from _sources(details["sources"])
    yield from ood(metrics.get("acceptance") or {})
    yield from pointing(metrics.get("pointing") or {})
    if details["abstaining"]:
        yield "## Abstaining"
        yield (
            "Risk when only the surest share is answered. Of a report it is 1 - its label F1, of a finding decision "
            f"being wrong; AURC is its mean over all shares.\n\n![Risk against coverage]({PLOT})"
        )
        yield table(details["abstaining"], tuple(next(iter(details["abstaining"].values()))))


def _sources(sources: Rows) -> Iterable[str]:
    """What means anything only within a source, where the source gives the label away."""
    if not sources:
        return
    yield "## Within each source"
    yield "AUROC: mean over the common findings, those with at least 15 positive studies; low and high: bootstrap 95%."
    heads = {name: {"studies": part["studies"], **part["head"]} for name, part in sources.items()}
    yield table(heads, HEAD)
    if len(sources) > 1:
        for name, part in sources.items():
            labelled = {finding: row for finding, row in part["findings"].items() if row["labelled"]}
            yield from (f"Findings, {name}:", table(labelled, FINDING)) if labelled else ()
    for name, part in sources.items():
        if part["text"]:
            yield f"Text, {name}: findings that the rule labeller reads in it against the labels of the images."
            yield table({system: beside_bounds(row) for system, row in part["text"].items()}, TEXT_OF_LABELS)
            yield table({name: beside_bounds(row) for name, row in part["abstaining"].items()}, ABSTAINING)


def ood(found: Mapping[str, Any]) -> Iterable[str]:
    """What the checkpoint takes for chest radiographs, group by group; nothing for a checkpoint that cannot tell."""
    if not found:
        return
    yield "## Acceptance"
    for films, title in ((True, "Chest radiographs, which should be accepted"), (False, "Other images, none of which")):
        if rows := {name: row for name, row in found["groups"].items() if row["films"] is films}:
            yield f"{title}:"
            yield table(rows, ACCEPTED)
    if found["AUROC"] is not None and not math.isnan(found["AUROC"]):
        yield f"AUROC of telling the two apart: {number(found['AUROC'])}."


def pointing(rows: Rows) -> Iterable[str]:
    """The pointing game; nothing where no image has boxes."""
    if rows:
        yield "## Pointing game"
        yield (
            "Share of the images in which the brightest place of a finding's heatmap lies in a radiologist's box of "
            "it. Middle: the share that the middle of the image hits, where a centred Gaussian is brightest."
        )
        yield table({name: beside_bounds(row) for name, row in rows.items()}, POINTING)


def left_out(reasons: Mapping[str, Sequence[str]], limit: int = 10) -> str:
    """How many studies, why, and the names of the first."""
    parts = []
    for reason, ids in reasons.items():
        more = f" and {len(ids) - limit} more" if len(ids) > limit else ""
        parts.append(f"{len(ids)}: {reason} ({', '.join(ids[:limit])}{more})")
    return "; ".join(parts) or "nothing to report on"
