"""`xray-report bulk`: the reports of a folder or a table of studies, one line each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.commands.errors import FAILED, INTERRUPTED, SOME_FAILED, CommandError
from app.commands.given import CheckpointOption, chosen, read_settings, with_report_options

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from app.bulk.job import Job, Summary
    from app.bulk.reporters import Reporter

    Reporters = AbstractAsyncContextManager[Reporter]

_PATIENCE_SECONDS = 600.0
_MAX_PATIENCE_SECONDS = 604_800.0
_MAX_IN_FLIGHT = 1024
_MAX_REPLICAS = 10_000


_Source = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A folder, or a CSV file with columns image and, if you like, study.")
]
_Out = Annotated[Path, typer.Option(metavar="FILE", help="Results, a line a study: .jsonl, or .csv for a table.")]
_Server = Annotated[
    str | None, typer.Option(metavar="URL", help="The service to ask.", show_default="none: the model runs here")
]
_Ray = Annotated[
    bool,
    typer.Option("--ray", help="The models run in the Ray cluster that RAY_ADDRESS names, or this machine is part of."),
]
_Replicas = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=_MAX_REPLICAS, help="With --ray, so many.", show_default="as there is room for"
    ),
]
_KeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File with the service's API key.", show_default="no key")
]
_GroupBy = Annotated[
    Literal["file", "folder"],
    typer.Option(help="PNG and JPEG: every file is a study, or every folder is. DICOM goes by its study UID."),
]
_InFlight = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=_MAX_IN_FLIGHT,
        help="Studies under way at once, at most what the service takes.",
        show_default="what keeps its device busy",
    ),
]
_Patience = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0, max=_MAX_PATIENCE_SECONDS, help="How long a service that is away is waited for."
    ),
]


@with_report_options
def bulk(
    source: _Source,
    out: _Out,
    server: _Server = None,
    ray: _Ray = False,
    replicas: _Replicas = None,
    api_key_file: _KeyFile = None,
    group_by: _GroupBy = "file",
    in_flight: _InFlight = None,
    patience: _Patience = _PATIENCE_SECONDS,
    checkpoint: CheckpointOption = None,
    **options: str | None,
) -> None:
    """Report on many studies, one line each.

    The same command goes on where it was interrupted: a study that has its line is not asked for again.
    """
    import asyncio

    from app.bulk.job import Job
    from app.bulk.results import SUFFIXES

    if out.suffix.lower() not in SUFFIXES:
        raise CommandError(f"--out {out}: results are written as {' or '.join(SUFFIXES)}")
    if not source.exists():  # said before a model is loaded
        raise CommandError(f"{source}: No such file or directory")
    if server and ray:
        raise CommandError("--server and --ray exclude each other")
    job = Job(source, out, group_by, in_flight, patience, chosen(options))
    if server:
        reporter = _service(server, api_key_file, job)
    else:
        reporter = _models_of_cluster(checkpoint, job, replicas) if ray else _model_here(checkpoint, job)
    summary = asyncio.run(_run(job, reporter))
    _show(summary, out)
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)
    if summary.without:
        raise typer.Exit(SOME_FAILED)


def _service(url: str, key_file: Path | None, job: Job) -> Reporters:
    from app.bulk.reporters import service_at
    from app.hospital_settings import web_address

    try:
        return service_at(web_address(url), _key(key_file), job.options)
    except ValueError as error:
        raise CommandError(f"--server {error}") from error


def _key(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        key = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        key = ""
    if not key or not key.isprintable():
        raise CommandError(f"{path}: it holds no key")
    return key


def _model_here(checkpoint: Path | None, job: Job) -> Reporters:
    from app.bulk.reporters import model_here

    return model_here(read_settings(checkpoint=checkpoint), job.options)


def _models_of_cluster(checkpoint: Path | None, job: Job, replicas: int | None) -> Reporters:
    try:
        from app.bulk.ray import models_of_cluster
    except ImportError as error:
        raise CommandError("--ray needs the packages of the extra xray-report[ray]") from error
    return models_of_cluster(read_settings(checkpoint=checkpoint), job.options, replicas)


async def _run(job: Job, reporters: Reporters) -> Summary:
    """Raises `CommandError`."""
    from app.bulk.job import carry_out
    from app.bulk.progress import Shown
    from app.bulk.study import StopError, ToldToStopError
    from app.commands import console

    try:
        async with reporters as reporter:
            with Shown(console.errors()) as shown:
                return await carry_out(job, reporter, shown)
    except StopError as error:
        code = INTERRUPTED if isinstance(error, ToldToStopError) else FAILED
        raise CommandError(str(error), code) from error


def _show(summary: Summary, out: Path) -> None:
    from app.bulk.progress import duration
    from app.commands import console

    shown = console.output()
    failed = sum(summary.problems.values())
    kinds = ", ".join(f"{name} {count:,}" for name, count in summary.problems.most_common())
    rate = f", {summary.now / summary.seconds:.1f} a second" if summary.now else ""
    before = f", {summary.before:,} of them with a line from before" if summary.before else ""
    shown.print(f"Studies: {summary.total:,}{before}.")
    shown.print(
        f"Now {summary.now - failed:,} reported on, {failed:,} without a report{f' ({kinds})' if kinds else ''}."
    )
    shown.print(f"{duration(summary.seconds)}{rate}, {summary.in_flight} in flight. Results: {out}", soft_wrap=True)
    if summary.passed_over:
        shown.print(f"Files passed over, being no images: {summary.passed_over:,}.")
    if summary.interrupted:
        left = summary.total - summary.before - summary.now
        shown.print(f"Interrupted, {left:,} to go: the same command goes on from here.", style="bold")
