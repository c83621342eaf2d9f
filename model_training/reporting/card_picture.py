"""The picture of a model card: what the checkpoint sees well and badly, and what its operating points trade."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model_training.evaluation.operating_points import URGENT

_RATES = {"false alarms": "normal studies given a finding", "urgent": "found of what is urgent"}
_COLOURS = ("#b5541c", "#1f5f8b")


def pictured_source(metrics: Mapping[str, Any]) -> str | None:
    """The source that the picture is of: of those with several findings to tell, the one of the most normal studies.
    None where no source has several."""
    sources = {name: part for name, part in metrics.get("sources", {}).items() if len(part.get("findings") or {}) > 1}
    return max(sources, key=lambda name: (sources[name].get("abnormal") or {}).get("normal", 0), default=None)


def draw(metrics: Mapping[str, Any], source: str, path: Path) -> None:
    """The picture of one source of the figures that the archive carries, as SVG: the same file for the same figures,
    with text as text."""
    part = metrics["sources"][source]
    with rc_context({"svg.hashsalt": "card", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}):
        figure = Figure(figsize=(10, 0.32 * len(part["findings"]) + 1.6), layout="constrained")
        areas, rates = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_areas(areas, part)
        _draw_rates(rates, part.get("points") or {})
        figure.suptitle(
            f"What it sees, on {part['studies']:,} studies of {source} ({metrics['split']}), with 95% intervals.\n"
            f"Urgent: {', '.join(URGENT)}.",
            fontsize="medium",
        )
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_areas(axes: Axes, part: Mapping[str, Any]) -> None:
    rows = {"abnormal": part.get("abnormal") or None, **part["findings"]}
    known = {name: row for name, row in rows.items() if row and row.get("AUROC") is not None}
    ranked = sorted(known.items(), key=lambda item: item[1]["AUROC"])
    for i, (_, row) in enumerate(ranked):
        colour = _COLOURS[0 if row["AUROC low"] <= 0.5 else 1]
        axes.plot([row["AUROC low"], row["AUROC high"]], [i, i], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(row["AUROC"], i, "o", color=colour, markersize=6)
        axes.annotate(f"{row['AUROC']:.2f}", (1.005, i), va="center", annotation_clip=False)
    axes.axvline(0.5, color="0.4", linewidth=1, linestyle=":")
    names = [f"{name.replace('_', ' ')} ({row.get('positive', row.get('abnormal')):.0f})" for name, row in ranked]
    axes.set_yticks(range(len(ranked)), names)
    axes.set(xlim=(0.35, 1.0), xlabel="AUROC; dotted: guessing", title="Tells those with a finding from those without")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_rates(axes: Axes, points: Mapping[str, Any]) -> None:
    drawn = [(name, key, row[key]) for name, row in points.items() for key in _RATES if row.get(key)]
    for i, (_, key, rate) in enumerate(reversed(drawn)):
        colour = _COLOURS[list(_RATES).index(key)]
        axes.barh(i, rate["value"], color=colour, height=0.7)
        axes.plot([rate["low"], rate["high"]], [i, i], color="0.15", linewidth=1.2)
        axes.annotate(f"{rate['value']:.0%}", (1.01, i), va="center", annotation_clip=False)
    axes.set_yticks(range(len(drawn)), [f"{name}: {_RATES[key]}" for name, key, _ in reversed(drawn)])
    axes.set(
        xlim=(0, 1),
        xlabel="share",
        title="Operating points",
    )
    axes.spines[["top", "right"]].set_visible(False)
