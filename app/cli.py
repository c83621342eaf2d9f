"""The command line: `xray-report serve` and `xray-report predict`."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import math
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from app.inference.memory import give_back_freed_memory
from app.inference.options import DecodingOptions
from app.settings import Settings, SettingsError, load_settings
from app.telemetry import configure_logging

# Whatever loads torch is imported by the command that runs it: `--help` and a wrong setting should answer at once.
if TYPE_CHECKING:
    from app.api.service import Service

logger = logging.getLogger("app.cli")

OPTIONS = (*(field.name for field in fields(DecodingOptions)), "sections", "include")


class CommandError(Exception):
    """What the user gave cannot be used; the message is for them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Returns the exit code: 0, or 1 after one line on standard error saying what is wrong."""
    given = _parser().parse_args(arguments)
    overrides = {name: getattr(given, name, None) for name in ("host", "port", "checkpoint")}
    try:
        settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
        if given.command == "serve":
            asyncio.run(serve(settings))
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
    serving.add_argument("--port", type=int, help="port to listen on; 0 takes a free one")
    predicting = commands.add_parser("predict", help="report on one study, without a server")
    predicting.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a view of the study, PNG or JPEG")
    predicting.add_argument("--text", action="store_true", help="plain text instead of JSON")
    for name in OPTIONS:
        predicting.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help="as in the API")
    for command in (serving, predicting):
        command.add_argument("--checkpoint", type=Path, help="the checkpoint file")
    return parser


async def serve(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM. Raises `CommandError` when the service cannot start."""
    give_back_freed_memory()
    configure_logging(settings.log_level)
    if not settings.api_key_hashes and not _is_loopback(settings.host):
        logger.warning("reachable from other machines without API keys; see XRAY_REPORT_API_KEY_HASHES")
    with _bind(settings.host, settings.port) as listener:
        from app.images.sandbox import WorkerStartError
        from app.inference.errors import CheckpointError, UnsupportedDeviceError
        from app.main import create_app
        from app.server.connection import Connection
        from app.server.watchdog import watched

        app = create_app(settings)
        connection = partial(
            Connection, head_seconds=settings.receive_deadline_seconds, metrics=app.state.service.metrics
        )
        config = uvicorn.Config(
            app,
            http=connection,  # type: ignore[arg-type]  # it is called, and nothing else
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            lifespan="off",  # entered here, so that its errors arrive as they are
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
        )
        try:
            async with watched(app.state.service), app.router.lifespan_context(app):
                await StoppableServer(config, app.state.service).serve(sockets=[listener])
        except (CheckpointError, UnsupportedDeviceError, WorkerStartError) as error:
            raise CommandError(str(error)) from error


class StoppableServer(uvicorn.Server):
    """At SIGTERM /readyz fails first; connections are taken until balancers have had the time to see it."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._stop_at = math.inf

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port, *_ = listener.getsockname()
            logger.info("listening", extra={"host": host, "port": port})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Unlike uvicorn's, this does not raise the signal again in the end: a clean stop exits with 0.
        if self.should_exit:
            self.force_exit = True
        elif sig == signal.SIGINT or self._stop_at < math.inf:
            self.should_exit = True
        else:
            self._stop_at = time.monotonic() + self._service.settings.drain_delay_seconds
        self._service.drain()

    async def on_tick(self, counter: int) -> bool:
        return time.monotonic() >= self._stop_at or await super().on_tick(counter)


def _bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet: a port that is taken is known before the model loads."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol left at 0, asyncio does not turn Nagle's algorithm off: 40 ms more a request.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise CommandError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def predict(settings: Settings, paths: Sequence[Path], options: Mapping[str, str | None], *, as_text: bool) -> str:
    """The report on one study, as the API would answer. `options` are the API's. Raises `CommandError`."""
    from app.api.options import parse_options
    from app.api.problems import Problem
    from app.api.schemas import ReportResponse
    from app.images.decode import DecodeError, decode_image
    from app.inference.errors import CheckpointError, UnsupportedDeviceError
    from app.inference.generator import Generator

    try:
        generator = Generator.load(
            settings.checkpoint,
            sha256=settings.checkpoint_sha256,
            device=settings.device,
            precision=settings.precision,
            acceptance=settings.acceptance,
        )
    except (CheckpointError, UnsupportedDeviceError) as error:
        raise CommandError(str(error)) from error
    started = time.monotonic()
    try:
        chosen = parse_options([(k, v) for k, v in options.items() if v is not None], [], generator)
        size = generator.manifest["image_size"]
        images = [decode_image(p.read_bytes(), max_pixels=settings.max_pixels, network_size=size) for p in paths]
        decoded = time.monotonic()
        pixels = [image.pixels for image in images]
        report = generator.submit(pixels, chosen.decoding, heatmaps="heatmaps" in chosen.include).result()
        seconds = {"decode_seconds": decoded - started, "total_seconds": time.monotonic() - started}
        answer = ReportResponse.of(report, images, chosen, generator, **seconds)
    except Problem as error:
        raise CommandError(error.detail) from error
    except (OSError, DecodeError, ValueError) as error:
        raise CommandError(str(error)) from error
    finally:
        generator.close()
    return answer.as_text() if as_text else answer.as_json()


if __name__ == "__main__":
    sys.exit(main())
