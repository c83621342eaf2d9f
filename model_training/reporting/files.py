"""The files of an evaluation: JSON, Markdown, CSV and PNG."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from model_training.evaluation.results import Evaluation, Prediction
from model_training.evaluation.text_scores import MODEL, TextTable
from model_training.reporting import risk_coverage, summary
from model_training.reporting.columns import AREAS, headline, named
from model_training.reporting.tables import DECIMALS, rounded

EXAMPLES = 10


def write(evaluation: Evaluation, folder: Path) -> None:
    """All files of an evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    content = rounded({"metrics": metrics(evaluation), "details": details(evaluation)})
    (folder / "evaluation.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    (folder / "evaluation.md").write_text(summary.markdown(evaluation))
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(prediction_rows(evaluation))
    risk_coverage.plot(evaluation.curves, folder / risk_coverage.PICTURE)


def metrics(evaluation: Evaluation) -> dict[str, Any]:
    """What `export` puts into the manifest: compact, and by the names of the contract."""
    first = {"text": evaluation.texts[0].title, "scores": named(evaluation.intervals)} if evaluation.texts else {}
    sources = {}
    for name, part in evaluation.sources.items():
        common = {finding: {key: row[key] for key in AREAS} for finding, row in named(part.common).items()}
        row = named(part)
        kept = ("studies", "head", "text", "abstaining", "abnormal", "points")
        sources[name] = {key: row[key] for key in kept if key in row} | {"findings": common}
    return {
        "checkpoint": evaluation.checkpoint,
        "collection": evaluation.collection,
        "split": evaluation.split,
        "studies": len(evaluation.predictions),
        "views": evaluation.views,
        "options": evaluation.options.as_dict(),
        **first,
        "leads": {one.title: named(one.differences[MODEL]) for one in evaluation.texts},
        "compared": {one.title: _headline(one.table) for one in evaluation.texts},
        "finding head": named(evaluation.head.summary),
        "validation": {"studies": evaluation.validation.studies, **named(evaluation.validation.summary)},
        "view accuracy": evaluation.view_accuracy,
        "sources": sources,
        "consistency": named(evaluation.consistency),
        "pointing": named(evaluation.pointing),
        "stated": named(evaluation.stated),
        "places": named(evaluation.places) if evaluation.places else {},
        "acceptance": named(evaluation.ood) if evaluation.ood else {},
        "examples": examples(evaluation),
    }


def examples(evaluation: Evaluation) -> list[dict[str, Any]]:
    """`EXAMPLES` reports drawn at random, the same ones for as many studies: what a study is labelled with and what is
    written of it. Neither whose study it is nor the words of a reference, which are not ours to pass on."""
    count = len(evaluation.predictions)
    chosen = np.random.default_rng(0).choice(count, min(EXAMPLES, count), replace=False)
    drawn = []
    for one in (evaluation.predictions[i] for i in sorted(chosen)):
        labels = [name for name, truth in zip(evaluation.head.findings, one.truths, strict=True) if truth == 1]
        source = one.report.study.source or evaluation.collection
        known = labels or ["normal" if one.normal else "no finding named"]
        drawn.append(
            {"source": source, "labels": known, "report": " ".join(one.report.report.hypotheses[0].text.split())}
        )
    return drawn


def details(evaluation: Evaluation) -> dict[str, Any]:
    """The rest, for people and comparisons."""
    return {
        "left out": evaluation.left_out,
        "tables": {one.title: _table(one.table) for one in evaluation.texts},
        "differences": {one.title: named(one.differences) for one in evaluation.texts},
        "groups": {name: _table(group) for name, group in evaluation.groups.items()},
        "frontal only": _table(evaluation.frontal_only) if evaluation.frontal_only else None,
        "findings": named(evaluation.head.findings),
        "sources": named(evaluation.sources),
        "abstaining": risk_coverage.rows(evaluation.curves),
    }


def prediction_rows(evaluation: Evaluation) -> Iterator[list[Any]]:
    """One row a study behind the header: what was written of it, how well, and what the finding head said."""
    sections = list(evaluation.predictions[0].report.study.sections)
    header = ["id", "views", "normal", *(f"reference {name}" for name in sections)]
    header += [*(f"generated {name}" for name in sections), "score", "tokens", "finish reason", "label F1"]
    yield header + [f"{kind}: {name}" for name in evaluation.head.findings for kind in ("truth", "probability")]
    for one in evaluation.predictions:
        yield _prediction_row(one, sections)


def _prediction_row(one: Prediction, sections: list[str]) -> list[Any]:
    study, best = one.report.study, one.report.report.hypotheses[0]
    row = [study.id, len(one.report.images), int(one.normal), *study.sections.values()]
    row += [*(best.sections.get(name, "") for name in sections), rounded(best.score), best.tokens, best.finish_reason]
    row += [_cell(one.label_f1, DECIMALS)]
    pairs = zip(one.truths, one.probabilities, strict=True)
    return row + [cell for truth, said in pairs for cell in (_cell(truth, 0), _cell(said, DECIMALS))]


def _cell(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"


def _headline(part: TextTable) -> dict[str, dict[str, float]]:
    """The scores that tell seeing from memorisation, of the model and of everything that must stand beside it."""
    return {system: {name: row[name] for name in headline() if name in row} for system, row in part.rows.items()}


def _table(part: TextTable) -> dict[str, Any]:
    return {"studies": part.studies, "scores": part.rows}
