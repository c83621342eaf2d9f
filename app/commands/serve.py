"""`xray-report serve`: runs the HTTP service."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.errors import CommandError
from app.commands.given import CheckpointOption, read_settings
from app.defaults import HOST, MAX_PORT, PORT
from app.inference.memory import give_back_freed_memory

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.settings import Settings


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            metavar="HOST", help="Address or name to listen on.", show_default=f"XRAY_REPORT_HOST, else {HOST}"
        ),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option(
            metavar="PORT",
            help=f"Port to listen on; 0 takes a free one. 0 to {MAX_PORT}",
            show_default=f"XRAY_REPORT_PORT, else {PORT}",
        ),
    ] = None,
    checkpoint: CheckpointOption = None,
) -> None:
    """Run the HTTP service until SIGTERM or SIGINT.

    Every other setting comes from the environment, as docs/operations.md lists them.
    """
    run(read_settings(host=host, port=port, checkpoint=checkpoint))


def run(settings: Settings) -> None:
    """Serves until it is told to stop. Raises `CommandError` when it cannot start."""
    give_back_freed_memory()  # before anything starts threads
    gc.disable()  # what start-up makes stays: looking through it over and over takes half a second, until it is ready
    import asyncio

    from app.server import serve as server

    try:
        asyncio.run(_serve_by_fronts(settings) if settings.fronts > 1 else server.serve(settings, _create_app))
    except server.StartError as error:
        raise CommandError(str(error)) from error
    finally:
        gc.enable()


async def _serve_by_fronts(settings: Settings) -> None:
    from functools import partial

    from app.main import create_engine_service, living
    from app.server import fronts

    await fronts.serve(settings, create_engine_service, partial(living, decoding=False))


def _create_app(settings: Settings) -> FastAPI:
    from app.main import create_app

    return create_app(settings)
