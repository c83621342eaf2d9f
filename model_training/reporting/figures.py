"""Figures for people at a notebook: films beside their reports, what was written of them, where the model looked for
it, and its scores beside those of what does not look."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from app.report import Finding, Heatmap
from app.text.labeller import label_report
from model_training.data.images import read_image
from model_training.data.labels import mentions_of
from model_training.data.study import Study, StudyImage
from model_training.evaluation.baselines import CONSTANT
from model_training.evaluation.generation import GeneratedReport
from model_training.evaluation.text_scores import BLANK, MODEL, SHUFFLED
from model_training.reporting.gallery.cards import compare_labels, positive
from model_training.reporting.tables import number

_FILM, _TEXT = 2.6, 3.9  # inches of a film's side and of a column of text
_WRAP = 58  # characters of a line in it
_KINDS = {"hit": "right", "missed": "missed", "invented": "not there"}
_SYSTEMS = (MODEL, SHUFFLED, BLANK, CONSTANT)
_COLOURS = {MODEL: "#1f5f8b", CONSTANT: "#b5541c"}
_HEAT = LinearSegmentedColormap.from_list("heat", ["#ffb000", "#e0004d"])  # seen on dark lungs and on bright bones
_MOST_OPAQUE = 0.7


def films(studies: Sequence[Study]) -> Figure:
    """A row a study: its images, and its report as the source has it. Raises ValueError without a study."""
    rows = [(study.id, study.images, {"report": _sections(study.sections)}) for study in studies]
    return _rows(rows)


def predictions(reports: Sequence[GeneratedReport], names: Sequence[str]) -> Figure:
    """A row a study: the images that the model was shown, the reference and the prediction, both of the sections
    `names`, and which findings the labeller reads in one or both. Raises ValueError without a report."""
    rows = []
    for one in reports:
        given = {name: one.study.sections.get(name, "") for name in names}
        written = one.report.hypotheses[0].sections
        texts = {
            "reference": _sections(given),
            "prediction": _sections(written) + "\n\n" + _verdict(one.study, " ".join(given.values()), one.text(names)),
        }
        rows.append((one.study.id, one.images, texts))
    return _rows(rows)


def heatmaps(reports: Sequence[GeneratedReport], most: int = 4) -> Figure:
    """A column each of `most` findings, known boxes first and then the surest, in the report that is surest of it: its
    first image, where the evidence lies, the box of the finding there, and dashed the known one. Above, the sentence
    that states the finding.

    Raises ValueError without a report, or where one was made without heatmaps.
    """
    ranked = sorted(((_surest(one), one) for one in reports), key=lambda pair: _telling(*pair), reverse=True)
    surest = list({finding.name: (finding, one) for finding, one in reversed(ranked)}.values())[::-1][:most]
    if not surest:
        raise ValueError("there is no report to show")
    figure = Figure(figsize=(3.2 * len(surest), 4.0), dpi=110, layout="constrained")
    for axes, (finding, one) in zip(figure.subplots(1, len(surest), squeeze=False)[0], surest, strict=True):
        pixels, image = read_image(one.images[0].path).pixels, one.images[0]
        sentence, seen = _looked(one, finding.name)
        _film(axes, pixels)
        overlay(axes, seen, pixels.shape)
        for place in finding.locations:
            if place.image == 0:
                _draw_box(axes, place.box, pixels.shape, "solid")
        for known in image.boxes:
            if known.finding == finding.name:
                left, top = known.x - known.width / 2, known.y - known.height / 2
                _draw_box(axes, (left, top, left + known.width, top + known.height), pixels.shape, "dashed")
        title = f"{finding.name.replace('_', ' ')}, probability {number(finding.probability)}"
        said = f"“{sentence}”" if sentence else "(no sentence states it)"
        axes.set_title(f"{title}\n{textwrap.fill(said, 38)}", fontsize=8)
    return figure


def overlay(axes: Axes, heatmap: Heatmap, shape: Sequence[int]) -> None:
    """The map over an image [H,W] that is drawn pixel by pixel: the brighter, the more of the evidence lies there."""
    rows, columns = shape
    left, top, right, bottom = heatmap.box
    levels = np.pad(np.array(heatmap.levels) / 255, 1)  # it fades out beyond its rim
    across, down = (right - left) / (len(levels) - 2), (bottom - top) / (len(levels) - 2)
    beside, above = (left - across) * columns, (top - down) * rows
    extent = (beside, (right + across) * columns, (bottom + down) * rows, above)
    axes.imshow(levels, _HEAT, alpha=_MOST_OPAQUE * levels, vmin=0, vmax=1, extent=extent, interpolation="bilinear")
    axes.set(xlim=(0, columns), ylim=(rows, 0))


def scores(evaluation: Mapping[str, Any], shown: Sequence[str] = ("BLEU-4", "micro-F1")) -> Figure:
    """Some scores of an `evaluation.json` as bars: the model, its controls and the best constant, under the first view
    of the text; the model's with its 95% interval. Raises ValueError where no text was scored."""
    tables = evaluation["details"]["tables"]
    if not tables:
        raise ValueError("no text was scored: none of the studies has a report")
    title, table = next(iter(tables.items()))
    figure = Figure(figsize=(4.6 * len(shown), 2.6), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, name in zip(panels, shown, strict=True):
        interval = evaluation["metrics"].get("scores", {}).get(name)
        for i, system in enumerate(reversed(_SYSTEMS)):
            value = table["scores"][system].get(name)
            end = value or 0.0
            axes.barh(i, end, color=_COLOURS.get(system, "0.6"), height=0.65)
            if system == MODEL and interval:
                axes.plot([interval["low"], interval["high"]], [i, i], color="#8fc1e3", linewidth=2)
                end = max(end, interval["high"])
            axes.annotate(number(value), (end, i), (5, 0), textcoords="offset points", va="center")
        axes.set(
            title=f"label {name}" if name.endswith("F1") else name,
            xlim=(0, None),
            yticks=range(len(_SYSTEMS)),
            yticklabels=reversed(_SYSTEMS),
        )
        axes.margins(x=0.18)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}, {table['studies']} studies", fontsize="medium")
    return figure


def _rows(rows: Sequence[tuple[str, Sequence[StudyImage], Mapping[str, str]]]) -> Figure:
    """Name, images and texts by heading of each study in a row of its own, rows as high as their texts."""
    if not rows:
        raise ValueError("there is no study to show")
    across, texts = max(len(images) for _, images, _ in rows), len(rows[0][2])
    heights = [max(_FILM, *(0.16 * (text.count("\n") + 3) for text in given.values())) for _, _, given in rows]
    size = (_FILM * across + _TEXT * texts, sum(heights))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    widths = [_FILM] * across + [_TEXT] * texts
    grid = figure.subplots(len(rows), across + texts, squeeze=False, width_ratios=widths, height_ratios=heights)
    for line, (name, images, given) in zip(grid, rows, strict=True):
        for axes, image in zip(line[:across], [*images, *[None] * (across - len(images))], strict=True):
            axes.set_axis_off()
            if image is not None:
                _film(axes, read_image(image.path).pixels)
                axes.set_title(f"{name}, {image.view or 'view unknown'}", fontsize=8)
        for axes, (heading, text) in zip(line[across:], given.items(), strict=True):
            axes.set_axis_off()
            axes.set_title(heading, fontsize=8, loc="left")
            axes.text(0, 1, text, fontsize=8, va="top", transform=axes.transAxes)
    return figure


def _film(axes: Axes, pixels: Any) -> None:
    rows, columns = pixels.shape
    axes.imshow(pixels, "gray", extent=(0, columns, rows, 0))
    axes.set_axis_off()


def _sections(given: Mapping[str, str]) -> str:
    """Section by section, wrapped."""
    parts = (textwrap.fill(f"{name.upper()}: {text}", _WRAP) for name, text in given.items() if text)
    return "\n\n".join(parts) or "(no text)"


def _verdict(study: Study, reference: str, prediction: str) -> str:
    """Which findings the prediction names rightly, misses and invents: by the labeller, of the study by human codes
    where it has them."""
    kinds = compare_labels(positive(mentions_of(study, reference)), positive(label_report(prediction)))
    groups = {kind: [name for name, found in kinds.items() if found == kind] for kind in _KINDS}
    lines = [f"{_KINDS[kind]}: {', '.join(names)}" for kind, names in groups.items() if names]
    return "\n".join(textwrap.fill(line, _WRAP) for line in lines) or "right: no finding named"


def _surest(one: GeneratedReport) -> Finding:
    return max(one.report.findings, key=lambda finding: (finding.present, finding.probability))


def _telling(finding: Finding, one: GeneratedReport) -> tuple[bool, bool, float]:
    """Whether somebody knows where a finding is, whether the report calls it present, and how sure it is."""
    known = any(box.finding == finding.name for box in one.images[0].boxes)
    return known, finding.present, finding.probability


def _looked(one: GeneratedReport, finding: str) -> tuple[str, Heatmap]:
    """The sentence that states a finding, "" for none, and the map of the first image for it, else for the finding."""
    given = one.report.heatmaps
    if given is None:
        raise ValueError(f"the report of {one.study.id} was made without heatmaps")
    for sentence in given.sentences:
        if finding in sentence.findings and positive(label_report(sentence.text)):
            return sentence.text, sentence.maps[0]
    return "", next(maps.maps[0] for maps in given.findings if maps.name == finding)


def _draw_box(axes: Axes, box: tuple[float, float, float, float], shape: Sequence[int], line: str) -> None:
    rows, columns = shape
    left, top, right, bottom = box[0] * columns, box[1] * rows, box[2] * columns, box[3] * rows
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color="#7fd1ff", linestyle=line))
