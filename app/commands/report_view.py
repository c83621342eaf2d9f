"""A report on the terminal: its sections, what the finding head says, doubts, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.commands import console

if TYPE_CHECKING:
    from rich.console import Console

    from app.api.findings import Finding, Location
    from app.api.schemas import Hypothesis, ReportResponse

_BAR = 20
_WIDE = 100
_INDENT = (0, 0, 0, 2)


def show_report(answer: ReportResponse, names: Sequence[str]) -> None:
    """Prints it; `names` are those of the images."""
    out = console.output()
    _show_sections(out, answer.report)
    for number, other in enumerate(answer.alternatives or (), 2):
        out.print(Text(f"Alternative {number}, score {other.score:.3f}", style="bold"), end="\n\n")
        _show_sections(out, other)
    _show_findings(out, answer, names)
    for warning in answer.warnings:
        out.print(Text.assemble(("Warning: ", "bold yellow"), warning))
    if answer.warnings:
        out.print()
    _show_origin(out, answer, names)
    out.print(Text(answer.disclaimer, style="bold"))


def _show_sections(out: Console, hypothesis: Hypothesis) -> None:
    for name, text in hypothesis.sections.items():
        out.print(Text(name.upper(), style="bold cyan"))
        out.print(Padding(Text(text), _INDENT))
        out.print()


def _show_findings(out: Console, answer: ReportResponse, names: Sequence[str]) -> None:
    if answer.abnormal:
        said = "abnormal" if answer.abnormal.present else "not abnormal"
        out.print(Text.assemble("The study is ", (said, "bold"), f", probability {answer.abnormal.probability:.0%}."))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("finding", no_wrap=True)
    table.add_column("")
    table.add_column("prob.", justify="right", no_wrap=True)
    table.add_column("from", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("where")
    for one in sorted(answer.findings, key=lambda one: (not one.present, -one.probability)):
        table.add_row(
            Text(one.name.replace("_", " "), style="bold" if one.present else ""),
            Text("present", style="bold red") if one.present else Text("absent", style="dim"),
            f"{one.probability:.1%}",
            f"{one.threshold:.1%}",
            _bar(one, ascii_only=out.options.ascii_only),
            "; ".join(_place(place, names, corners=out.width >= _WIDE) for place in one.locations or ()),
        )
    out.print(table)
    for measured in answer.measurements or ():
        name = measured.name.replace("_", " ")
        out.print(f"{name}: {measured.value:.2f}" + (f" on {names[measured.image]}" if len(names) > 1 else ""))
    out.print()


def _bar(finding: Finding, *, ascii_only: bool) -> Text:
    """The probability as a bar, a stroke where the threshold lies."""
    full, empty, stroke = ("#", ".", "|") if ascii_only else ("█", "·", "┃")
    bar = Text()
    at = min(_BAR - 1, int(finding.threshold * _BAR))
    for place in range(_BAR):
        if place == at:
            bar.append(stroke, "bold")
        elif place < round(finding.probability * _BAR):
            bar.append(full, "red" if finding.present else "cyan")
        else:
            bar.append(empty, "dim")
    return bar


def _place(location: Location, names: Sequence[str], *, corners: bool) -> str:
    """Side and zone as far as known, and the corners of the box in pixels where there is room for them."""
    said = [" ".join(filter(None, (location.side, location.zone and f"{location.zone} zone")))]
    if corners:
        box = location.box
        said.append(f"({box.left:.0f}, {box.top:.0f}) to ({box.right:.0f}, {box.bottom:.0f})")
    image = f"{names[location.image]}: " if len(names) > 1 else ""
    return image + ", ".join(filter(None, said))


def _show_origin(out: Console, answer: ReportResponse, names: Sequence[str]) -> None:
    for name, image in zip(names, answer.images, strict=True):
        read = "" if image.read else ", not read"
        size = f"{image.width} x {image.height} pixels"
        out.print(Text(f"{name}: {image.format}, {size}, {image.view} {image.view_probability:.0%}{read}", style="dim"))
    model = answer.model
    seconds = answer.timing.total_ms / 1e3
    options = answer.options
    how = f"{options['num_beams']} beams, {options['operating_point']}, {seconds:.2f} s"
    out.print(Text(f"{model.name} {model.version} ({model.sha256[:12]}), {how}", style="dim"), end="\n\n")
