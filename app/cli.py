"""The command line: `xray-report serve`, `xray-report predict` and `xray-report pacs`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.inference.memory import give_back_freed_memory
from app.inference.options import EARLY_STOPPING, INCLUDES, MEANINGS, OPERATING_POINTS, RANGES
from app.inference.pipes import printing
from app.settings import Settings, SettingsError, load_settings

# What is slow to import, torch above all, is imported by the command that runs it: `--help` and a wrong setting should
# answer at once.
if TYPE_CHECKING:
    from fastapi import FastAPI

# The API's options and what `--help` says of them.
OPTIONS = {
    **{name: f"{one.meaning} {one}" for name, one in RANGES.items()},
    "early_stopping": f"{MEANINGS['early_stopping']} {', '.join(EARLY_STOPPING)}",
    "operating_point": f"{MEANINGS['operating_point']} {', '.join(OPERATING_POINTS)}",
    "sections": f"{MEANINGS['sections']} The checkpoint's, comma-separated",
    "include": f"{MEANINGS['include']} {', '.join(INCLUDES)}, comma-separated",
}


class CommandError(Exception):
    """What the user gave cannot be used; the message is for them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Returns the exit code: 0, or 1 after one line on standard error saying what is wrong."""
    with printing():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    given = _parser().parse_args(arguments)
    overrides = {name: getattr(given, name, None) for name in ("host", "port", "checkpoint")}
    if given.command == "pacs":
        overrides["checkpoint"] = os.devnull  # it loads none
    try:
        settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
        if given.command == "serve":
            serve(settings)
        elif given.command == "pacs":
            pacs(settings)
        else:
            options = {name: getattr(given, name) for name in OPTIONS}
            print(predict(settings, given.images, options, as_text=given.text))
    except (SettingsError, CommandError) as error:
        print(f"xray-report: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xray-report",
        description="Drafts chest X-ray reports. Research use only. Not for clinical use.",
        epilog="Settings come from the environment, XRAY_REPORT_<NAME>.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="run the HTTP service")
    serving.add_argument("--host", help="address to listen on")
    serving.add_argument("--port", help="port to listen on; 0 takes a free one")
    predicting = commands.add_parser("predict", help="report on one study, without a server")
    predicting.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="a view of the study, PNG, JPEG or DICOM"
    )
    predicting.add_argument("--text", action="store_true", help="plain text instead of JSON")
    for name, meaning in OPTIONS.items():
        predicting.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=meaning)
    commands.add_parser("pacs", help="report on the studies of a PACS, by a running service")
    for command in (serving, predicting):
        command.add_argument("--checkpoint", type=Path, help="the checkpoint file")
    return parser


def serve(settings: Settings) -> None:
    """Runs the service until it is told to stop. Raises `CommandError` when it cannot start."""
    give_back_freed_memory()  # before anything starts threads
    from app.server import serve as server

    try:
        asyncio.run(server.serve(settings, _create_app))
    except server.StartError as error:
        raise CommandError(str(error)) from error


def pacs(settings: Settings) -> None:
    """Runs the loop over the PACS until it is told to stop. Raises `CommandError` when it cannot start."""
    try:
        from app.pacs.errors import PacsError
        from app.pacs.run import run
    except ImportError as error:
        raise CommandError("pacs needs the packages of the extra xray-report[hospital]") from error
    try:
        asyncio.run(run(settings))
    except PacsError as error:
        raise CommandError(str(error)) from error


def _create_app(settings: Settings) -> FastAPI:
    from app.main import create_app

    return create_app(settings)


def predict(settings: Settings, paths: Sequence[Path], options: Mapping[str, str | None], *, as_text: bool) -> str:
    """The report on one study, as the API would answer. `options` are the API's. Raises `CommandError`."""
    from app.api.options import parse_options
    from app.api.problems import Problem
    from app.api.schemas import ReportResponse
    from app.images.decode import decode_image
    from app.images.errors import DecodeError
    from app.inference.errors import CheckpointError, UnsupportedDeviceError
    from app.inference.generator import Generator

    try:
        generator = Generator.load(
            settings.checkpoint,
            sha256=settings.checkpoint_sha256,
            device=settings.device,
            precision=settings.precision,
            threads=settings.threads,
            ood=settings.acceptance,
        )
    except (CheckpointError, UnsupportedDeviceError) as error:
        raise CommandError(str(error)) from error
    started = time.monotonic()
    try:
        chosen = parse_options([(k, v) for k, v in options.items() if v is not None], [], generator.model)
        size = generator.model.image_size
        images = []
        for path in paths:
            try:
                images.append(decode_image(path.read_bytes(), max_pixels=settings.max_pixels, network_size=size))
            except DecodeError as error:
                raise CommandError(f"{path}: {error}") from error
            except (OSError, ValueError) as error:  # ValueError for a name that no file can have
                raise CommandError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        decoded = time.monotonic()
        pixels = [image.pixels for image in images]
        report = generator.submit(
            pixels,
            chosen.decoding,
            operating_point=chosen.operating_point,
            heatmaps="heatmaps" in chosen.include,
        ).result()
        seconds = {"decode_seconds": decoded - started, "total_seconds": time.monotonic() - started}
        answer = ReportResponse.of(report, images, chosen, generator.model, **seconds)
    except Problem as error:
        raise CommandError(error.detail) from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    finally:
        generator.close()
    return answer.as_text() if as_text else answer.as_json()


if __name__ == "__main__":
    sys.exit(main())
