"""The figures of an evaluation as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model_training.evaluation.operating_points import ENOUGH, URGENT
from model_training.evaluation.results import Evaluation
from model_training.evaluation.source_scores import SourceScores
from model_training.reporting import columns, risk_coverage
from model_training.reporting.columns import named, with_bounds
from model_training.reporting.tables import Rows, interval, number, table

_SCORERS = (
    "BLEU, METEOR 1.5, ROUGE-L and CIDEr: pycocoevalcap on cleaned text; sacreBLEU: cased, on the original text. "
    "Labels: rule labeller against the studies' MeSH codes, else against their own text. Shares of the reports: "
    "distinct, copied verbatim from training, speaking of a prior examination. n/a: undefined, or METEOR without Java."
)


def markdown(evaluation: Evaluation) -> str:
    """The whole evaluation."""
    return "\n\n".join([*_texts(evaluation), *_heads(evaluation)]) + "\n"


def _texts(evaluation: Evaluation) -> Iterator[str]:
    """What was evaluated, and the scores of texts."""
    options = ", ".join(f"{name} {value}" for name, value in evaluation.options.as_dict().items())
    studies = len(evaluation.predictions)
    yield f"# {evaluation.checkpoint} on {evaluation.collection}, {evaluation.split}"
    yield f"{studies} studies, images a study: at most {evaluation.views}; {options}."
    if evaluation.left_out:
        yield f"Left out: {left_out(evaluation.left_out)}."
    scores = [*columns.text(), *columns.memorisation()]
    for one in evaluation.texts:
        yield f"## {one.title}"
        yield f"{one.table.studies} studies."
        yield table(one.table.rows, scores)
        yield "Minus the best constant, with paired bootstrap 95% intervals:"
        yield table(named(one.differences), columns.headline(), cell=interval)
    yield _SCORERS if evaluation.texts else "No text was compared with a report: there are none."
    for name, group in evaluation.groups.items():
        yield f"## {name.capitalize()} studies alone"
        yield f"{group.studies} studies, scored as in the first table."
        yield table(group.rows, columns.group(name == "normal"))
    if frontal := evaluation.frontal_only:
        yield "## Frontal images only"
        yield f"{frontal.studies} studies that have one, scored as in the first table."
        yield table(frontal.rows, scores)


def _heads(evaluation: Evaluation) -> Iterator[str]:
    """Finding head, view head and abstaining."""
    head = named(evaluation.head.summary)
    yield "## Finding head"
    yield "Calibrated as the checkpoint is, on validation studies. Before is at temperature 1. ECE: 15 equal bins."
    mean = {key: head.get(f"mean {key}") for key in columns.FINDING}
    yield table({**named(evaluation.head.findings), "mean": mean}, columns.FINDING)
    low, high = number(head["mean AUROC low"]), number(head["mean AUROC high"])
    yield (
        f"Micro-F1 {number(head['micro-F1'])}. Mean AUROC {number(head['mean AUROC'])} ({low} to {high}, bootstrap "
        f"95%). View accuracy {number(evaluation.view_accuracy)}."
    )
    yield from _sources(evaluation.sources)
    yield from consistency(named(evaluation.consistency))
    yield from ood(named(evaluation.ood) if evaluation.ood else {})
    yield from pointing(named(evaluation.pointing))
    yield from stated(named(evaluation.stated))
    yield from places(named(evaluation.places) if evaluation.places else {})
    if evaluation.curves:
        risks = risk_coverage.rows(evaluation.curves)
        yield "## Abstaining"
        yield (
            "Risk when only the surest share is answered. Of a report it is 1 - its label F1, of a finding decision "
            f"being wrong; AURC is its mean over all shares.\n\n![Risk against coverage]({risk_coverage.PICTURE})"
        )
        yield table(risks, list(next(iter(risks.values()))))


def _sources(sources: Mapping[str, SourceScores]) -> Iterator[str]:
    """What means anything only within a source, where the source gives the label away."""
    if not sources:
        return
    yield "## Within each source"
    yield "AUROC: mean over the common findings, those with at least 15 positive studies; low and high: bootstrap 95%."
    heads = {name: {"studies": part.studies, **named(part.head)} for name, part in sources.items()}
    yield table(heads, columns.HEAD)
    if len(sources) > 1:
        for name, part in sources.items():
            if labelled := {finding: named(row) for finding, row in part.findings.items() if row.labelled}:
                yield f"Findings, {name}:"
                yield table(labelled, columns.FINDING)
    for name, part in sources.items():
        yield from decisions(name, named(part))
    for name, part in sources.items():
        if part.text:
            yield f"Text, {name}: findings that the rule labeller reads in it against the labels of the images."
            yield estimates(named(part.text), columns.TEXT_OF_LABELS)
            yield estimates(named(part.abstaining), columns.ABSTAINING)


def decisions(source: str, part: Mapping[str, Any]) -> Iterator[str]:
    """Abnormal against normal studies, and the operating points, of scores as JSON has them; nothing for a checkpoint
    without a part for that."""
    if part.get("abnormal"):
        yield f"Abnormal against normal studies, {source}:"
        yield table({"finding head": part["abnormal"]}, columns.ABNORMAL)
    if any(len(row) > 1 for row in part.get("points", {}).values()):
        yield (
            f"Operating points, {source}: the share of normal studies that is given any finding, and the mean "
            f"sensitivity to findings with at least {ENOUGH} positive studies, and to {', '.join(URGENT)}."
        )
        yield estimates(part["points"], columns.OPERATING_POINT)


def consistency(row: Mapping[str, Any]) -> Iterator[str]:
    """Whether texts say what was decided, of scores as JSON has them; nothing where that was not scored."""
    if not row:
        return
    yield "## Text against decisions"
    yield (
        "Shares of the reports that say just what the head decided, by the rule labeller, and that repeat a sentence "
        "within a section."
    )
    yield estimates({"model": row}, columns.CONSISTENCY)


def estimates(rows: Rows, shown: Sequence[str]) -> str:
    """A table of rows as JSON has them, each estimate as three columns."""
    return table({name: with_bounds(row) for name, row in rows.items()}, shown)


def ood(found: Mapping[str, Any]) -> Iterator[str]:
    """What the checkpoint takes for chest radiographs, group by group, of scores as JSON has them; nothing for a
    checkpoint that cannot tell."""
    if not found:
        return
    yield "## Acceptance"
    for films, title in ((True, "Chest radiographs, which should be accepted"), (False, "Other images, none of which")):
        if rows := {name: row for name, row in found["groups"].items() if row["films"] is films}:
            yield f"{title}:"
            yield table(rows, columns.ACCEPTED)
    if found["AUROC"] is not None and not math.isnan(found["AUROC"]):
        yield f"AUROC of telling the two apart: {number(found['AUROC'])}."


def pointing(rows: Rows) -> Iterator[str]:
    """The pointing game, of rows as JSON has them; nothing where no image has boxes."""
    if rows:
        yield "## Pointing game"
        yield (
            "Share of the images in which the brightest place of a finding's heatmap lies in a radiologist's box of "
            "it. Middle: the share that the middle of the image hits, where a centred Gaussian is brightest."
        )
        yield estimates(rows, columns.POINTING)


def stated(rows: Rows) -> Iterator[str]:
    """Where the sentences point that rightly state a finding, of rows as JSON has them; nothing where no image has
    boxes."""
    if rows:
        yield "## Where sentences point"
        yield (
            "Of the images with a known box of a finding that the report states: the share in which the brightest "
            "place of the sentence's heatmap lies in it, beside that of the middle of the image, where a centred "
            "Gaussian is brightest; of those in which the report gives the finding a box, the share whose middle lies "
            "in the known one, and the mean intersection over union."
        )
        yield estimates(rows, columns.STATED)


def places(row: Mapping[str, Any]) -> Iterator[str]:
    """Where findings are said to lie, of scores as JSON has them; nothing where no image has boxes."""
    if row:
        yield "## Sides and zones"
        yield (
            "Of the boxes that radiologists drew, whatever is decided of their findings: those on one side of which a "
            "side is said, and the share that is right; those of which a zone is said, and the share that is right."
        )
        yield estimates({"model": row}, columns.PLACES)


def left_out(reasons: Mapping[str, Sequence[str]], limit: int = 10) -> str:
    """How many studies, why, and the names of the first."""
    parts = []
    for reason, ids in reasons.items():
        more = f" and {len(ids) - limit} more" if len(ids) > limit else ""
        parts.append(f"{len(ids)}: {reason} ({', '.join(ids[:limit])}{more})")
    return "; ".join(parts) or "nothing to report on"
