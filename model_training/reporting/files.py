"""The files of an evaluation: JSON, Markdown, CSV and PNG."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_training.evaluation.results import Result
from model_training.evaluation.text_scores import is_normal
from model_training.reporting import risk_coverage, summary
from model_training.reporting.tables import plain
from model_training.training.dataset import sections_of


def write(result: Result, metrics: Mapping[str, Any], folder: Path) -> None:
    """All files of an evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "metrics": metrics,
        "details": result.details,
    }
    (folder / "evaluation.json").write_text(json.dumps(plain(content), indent=1, allow_nan=False) + "\n")
    (folder / "evaluation.md").write_text(summary.markdown(metrics, result.details))
    write_predictions(folder / "predictions.csv", result)
    risk_coverage.plot(result.curves, folder / summary.PLOT)


def write_predictions(path: Path, result: Result) -> None:
    """One row a study: what was written of it, how well, and what the finding head said."""
    names = list(sections_of(result.reports[0].study))
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        header = ["id", "views", "normal", *(f"reference {name}" for name in names), *(f"generated {n}" for n in names)]
        header += ["score", "tokens", "finish reason", "label F1"]
        table.writerow([*header, *(f"{kind}: {n}" for n in result.output.names for kind in ("truth", "probability"))])
        probabilities = result.output.probabilities(result.calibration.temperatures)
        for i, one in enumerate(result.reports):
            best = one.report.hypotheses[0]
            row = [one.study.id, len(one.images), int(is_normal(one.study)), *sections_of(one.study).values()]
            row += [*(best.sections.get(name, "") for name in names), round(best.score, 4), best.tokens]
            row += [best.finish_reason, _blank_or(1 - result.losses[i], "{:.4f}")]
            pairs = zip(result.output.targets[i], probabilities[i], strict=True)
            table.writerow([*row, *(cell for t, p in pairs for cell in (_blank_or(t, "{:.0f}"), f"{p:.4f}"))])


def _blank_or(value: float, form: str) -> str:
    return "" if np.isnan(value) else form.format(value)
