"""`xray-report model`: what the checkpoint is for, what it reads, how well, and on which terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.commands.errors import CommandError
from app.commands.given import CheckpointOption, JsonFlag, read_settings

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from app.inference.checkpoint import Checkpoint
    from app.inference.manifest import FindingDecision, Manifest
    from app.settings import Settings


def model(checkpoint: CheckpointOption = None, as_json: JsonFlag = False) -> None:
    """Print the essentials of the model card.

    The checkpoint is verified as by the service. JSON is what the service answers at /v1/model.
    """
    settings = read_settings(checkpoint=checkpoint)
    if as_json:
        from app.commands import console

        console.plain(_described(settings))
    else:
        _show(_loaded(settings), settings)


def _loaded(settings: Settings) -> Checkpoint:
    from app.inference.checkpoint import load_checkpoint
    from app.inference.errors import CheckpointError

    try:
        return load_checkpoint(settings.checkpoint, settings.checkpoint_sha256)
    except CheckpointError as error:
        raise CommandError(str(error)) from error


def _described(settings: Settings) -> str:
    from app.api.model import describe
    from app.inference.errors import CheckpointError, UnsupportedDeviceError
    from app.local_reports import LocalReports

    try:
        with LocalReports.of(settings) as reports:
            return describe(reports.model, settings).model_dump_json(exclude_none=True)
    except (CheckpointError, UnsupportedDeviceError) as error:
        raise CommandError(str(error)) from error


def _show(checkpoint: Checkpoint, settings: Settings) -> None:
    from rich.text import Text

    from app.commands import console
    from app.report import DISCLAIMER

    manifest = checkpoint.manifest
    out = console.output()
    out.print(Text(f"{manifest.name} {manifest.version}", style="bold"))
    out.print(f"SHA-256 {checkpoint.sha256}, which matches; the archive was verified and its self-test passed.")
    out.print()
    _section(out, "Intended use", [manifest.intended_use])
    read = f"{_listed(manifest.views_read)}, 1 to {manifest.max_views} a study"
    unread = [view for view in manifest.view_names if view not in manifest.views_read]
    views = f"{read}; {_listed(unread)} are told from them and not read." if unread else f"{read}."
    _section(out, "Views", [views])
    options = ", ".join(f"{name} {value}" for name, value in manifest.default_options.as_dict().items())
    _section(out, "Default options", [options])
    _section(out, "Findings and operating points", [_findings(manifest), _POINTS])
    if figures := list(_figures(manifest.metrics)):
        _section(out, "On test, with 95% intervals", figures)
    _section(out, "Learnt from, and on which terms", [f"- {line}" for line in manifest.training_data])
    licences = [path for path in (settings.checkpoint.parent / "LICENSE",) if path.is_file()]
    cards = [path for path in (settings.checkpoint.parent / "MODEL_CARD.md",) if path.is_file()]
    more = [f"Terms of the weights: {path}" for path in licences] + [f"The whole card: {path}" for path in cards]
    if more:
        _section(out, "More", more)
    out.print(Text(DISCLAIMER, style="bold"))


_POINTS = "from: the probability from which on it is present. sens, spec: sensitivity and specificity on validation."


def _section(out: Console, title: str, parts: Sequence[RenderableType]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    out.print(Text(title, style="bold cyan"))
    for part in parts:
        out.print(Padding(part, (0, 0, 0, 2)))
    out.print()


def _findings(manifest: Manifest) -> RenderableType:
    from rich.table import Table

    from app.inference.options import OPERATING_POINTS

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for point in OPERATING_POINTS:
        table.add_column(f"{point} from", justify="right")
        table.add_column("sens", justify="right", style="cyan")
        table.add_column("spec", justify="right", style="cyan")
    for one in (*filter(None, [manifest.abnormal]), *manifest.findings):
        table.add_row(one.name.replace("_", " "), *_thresholds(one))
    return table


def _thresholds(decision: FindingDecision) -> Iterator[str]:
    for threshold in decision.thresholds.values():
        yield f"{threshold.probability:.1%}"
        for figure in (threshold.sensitivity, threshold.specificity):
            yield "" if figure is None else f"{figure:.2f}"


def _figures(metrics: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The main ones of an evaluation, as far as there are any; the card has them all."""
    head = metrics.get("finding head", {})
    if mean := _interval(head, "mean AUROC"):
        yield f"{metrics['studies']:,} studies of {metrics['collection']}. Findings, mean AUROC {mean}."
    if exact := _estimate(metrics.get("consistency", {}).get("exact")):
        yield f"Reports that say just what was decided: {exact}."
    for source, part in metrics.get("sources", {}).items():
        said = [f"AUROC {found}" for found in [_interval(part["head"], "AUROC")] if found]
        if abnormal := _interval(part.get("abnormal", {}), "AUROC"):
            said.append(f"abnormal against normal {abnormal}")
        if alarms := _estimate(part.get("points", {}).get("balanced", {}).get("false alarms")):
            said.append(f"false alarms on normal studies {alarms}")
        text = part.get("text", {})
        if found := _estimate(text.get("model", {}).get("micro-F1")):
            constant = _estimate(text.get("best constant", {}).get("micro-F1"))
            said.append(f"label F1 of the text {found}" + (f", of one report for all {constant}" if constant else ""))
        yield f"{source} ({part['studies']:,} studies): {'; '.join(said)}."


def _interval(row: Mapping[str, Any], name: str) -> str:
    if row.get(name) is None:
        return ""
    return f"{row[name]:.3f} ({row[f'{name} low']:.3f} to {row[f'{name} high']:.3f})"


def _estimate(found: Mapping[str, float] | None) -> str:
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})" if found else ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
