"""`xray-report predict`: the report of one study, without a server."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.errors import CommandError
from app.commands.given import CheckpointOption, JsonFlag, chosen, read_settings, with_report_options

if TYPE_CHECKING:
    from app.api.schemas import ReportResponse
    from app.images.decode import DecodedImage
    from app.settings import Settings


@with_report_options
def predict(
    files: Annotated[list[Path], typer.Argument(metavar="FILES", help="The views of one study: PNG, JPEG or DICOM.")],
    checkpoint: CheckpointOption = None,
    as_json: JsonFlag = False,
    as_fhir: Annotated[bool, typer.Option("--fhir", help="A FHIR R4 DiagnosticReport, as JSON.")] = False,
    pdf: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the report as a page, with its images.")
    ] = None,
    **options: str | None,
) -> None:
    """Report on one study, without a server.

    Prints text to read, or what the service would answer. FHIR and pages carry over whose study it is from DICOM files,
    and need the extra xray-report[hospital].
    """
    from app.api.answers import FHIR, JSON, PDF
    from app.commands import console
    from app.commands.report_view import show_report

    if as_json and as_fhir:
        raise CommandError("--json and --fhir: choose one")
    wanted = [JSON] * as_json + [FHIR] * as_fhir + [PDF] * (pdf is not None)
    settings = read_settings(checkpoint=checkpoint)
    contents = [(path, _read(path)) for path in files]  # what is not there is said before a model is loaded
    answer, written = _answer(settings, contents, chosen(options), wanted)
    if pdf is not None:
        _write(pdf, written.pop(PDF))
    if written:
        (printed,) = written.values()
        console.plain(printed.decode())
    else:
        show_report(answer, [path.name for path in files])


def _answer(
    settings: Settings, contents: Sequence[tuple[Path, bytes]], given: Mapping[str, str], wanted: Sequence[str]
) -> tuple[ReportResponse, dict[str, bytes]]:
    """The answer, and the forms of it that are wanted. Raises `CommandError`."""
    from app.api.answers import first_choice, form_for, write
    from app.api.problems import Problem
    from app.inference.errors import CheckpointError, GenerationError, UnsupportedDeviceError
    from app.local_reports import LocalReports

    try:
        for one in wanted:  # which packages are missing is said before a model is loaded
            first_choice(one)
        with LocalReports.of(settings) as reports:
            options = reports.options(given)
            started = time.monotonic()
            images = [
                _decoded(path, content, settings.max_pixels, reports.model.image_size) for path, content in contents
            ]
            decoded = time.monotonic()
            forms = {one: form_for(one, images) for one in wanted}
            report = reports.start(images, options).result()
        answer = reports.answer(report, images, options, decoded - started, time.monotonic() - started)
        return answer, {one: write(form, answer, images, options) for one, form in forms.items()}
    except Problem as error:
        raise CommandError(error.detail) from error
    except (CheckpointError, UnsupportedDeviceError, GenerationError, ValueError) as error:
        raise CommandError(str(error)) from error


def _read(path: Path) -> bytes:
    """Raises `CommandError` naming the file."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError for a name that no file can have
        raise CommandError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _decoded(path: Path, content: bytes, max_pixels: int, network_size: int) -> DecodedImage:
    """The image of a file. Raises `CommandError` naming the file."""
    from app.images.decode import decode_image
    from app.images.errors import DecodeError

    try:
        return decode_image(content, max_pixels=max_pixels, network_size=network_size)
    except DecodeError as error:
        raise CommandError(f"{path}: {error}") from error


def _write(path: Path, content: bytes) -> None:
    from app.inference.files import write_atomically

    try:
        write_atomically(path, content)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
