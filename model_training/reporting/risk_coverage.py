"""Risk against the share of studies answered: as rows of a table, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from model_training.evaluation.selective_prediction import BY_HEAD, BY_SCORE, DECISIONS, risk_at
from model_training.metrics.calibration import RiskCoverage

PICTURE = "risk-coverage.png"
COVERAGES = (1.0, 0.9, 0.75, 0.5, 0.25)


def rows(found: Mapping[str, RiskCoverage]) -> dict[str, dict[str, float]]:
    """Signal to its area and to the risk at a few coverages."""
    return {
        signal: {"AURC": curve.area, **{f"risk at {share:.0%}": risk_at(curve, share) for share in COVERAGES}}
        for signal, curve in found.items()
    }


def plot(found: Mapping[str, RiskCoverage], path: Path) -> None:
    """The curves as a PNG: reports on the left, decisions of the finding head on the right."""
    figure = Figure(figsize=(9, 3.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2)
    titles = ("Reports", "Finding decisions")
    groups = [(BY_SCORE, BY_HEAD), (DECISIONS,)]
    for axes, title, signals in zip(panels, titles, groups, strict=True):
        for signal in signals:
            if signal in found:
                curve = found[signal]
                label = f"{signal.partition(' by ')[2]} (AURC {curve.area:.3f})"
                axes.plot(curve.coverage, curve.risk, label=label, linewidth=1.8)
                axes.axhline(curve.risk[-1], color="0.6", linewidth=0.8, linestyle=":")
        axes.set(title=title, xlabel="share answered", xlim=(0, 1), ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False)
    panels[0].set_ylabel("1 - label F1")
    panels[1].set_ylabel("share wrong")
    figure.savefig(path)
