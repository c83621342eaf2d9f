"""`xray-report pacs`: sets up the sources, the service and the destination, and runs until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import ExitStack

import pydicom.config
from prometheus_client import start_http_server

from app.dicomweb.client import DicomWebClient
from app.hospital_settings import parse_peer
from app.pacs.destinations import Destination, DicomWebDestination, PeerDestination
from app.pacs.errors import PacsError
from app.pacs.loop import Loop
from app.pacs.metrics import PacsMetrics
from app.pacs.received import Inbox
from app.pacs.receiver import Receiver
from app.pacs.reporter import Reporter
from app.pacs.service import ReportService
from app.pacs.spool import Spool
from app.pacs.state import State
from app.pacs.watcher import Watcher
from app.settings import PREFIX, Settings
from app.telemetry import configure_logging

logger = logging.getLogger(__name__)

# What was decided is kept for so long after its study is too old to be found.
_KEPT_DAYS = 30


async def run(settings: Settings) -> None:
    """Runs until SIGINT or SIGTERM. Raises `PacsError` when it cannot start."""
    configure_logging(settings.log_level)
    # Its complaints about values quote them.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    secret = settings.dicomweb_authorization
    client = (
        DicomWebClient(settings.dicomweb_url, secret.get_secret_value() if secret else None)
        if settings.dicomweb_url
        else None
    )
    destination = _destination(settings, client)
    key = settings.pacs_service_key
    patience = settings.request_deadline_seconds + settings.receive_deadline_seconds
    service = ReportService(settings.pacs_service_url, key.get_secret_value() if key else None, patience)
    with ExitStack() as stack:
        state = State(settings.pacs_folder)
        stack.callback(state.close)
        if settings.pacs_lookback_days:
            state.forget_before(time.time() - 86_400.0 * (settings.pacs_lookback_days + _KEPT_DAYS))
        metrics = PacsMetrics()
        _expose(metrics, settings, stack)
        reporter = Reporter(service, destination, state, metrics)
        loops = [
            Loop(source, reporter, metrics, settings.pacs_max_pause_seconds)
            for source in _sources(settings, client, state, metrics, stack)
        ]
        logger.info("ready")
        await _until_told(loops, settings.drain_seconds)
        logger.info("stopping")
    await service.close()
    if client is not None:
        await client.close()


def _destination(settings: Settings, client: DicomWebClient | None) -> Destination:
    if settings.pacs_peer:
        title, host, port = parse_peer(settings.pacs_peer)
        return PeerDestination(title, host, port, settings.pacs_ae_title, settings.dicomweb_deadline_seconds)
    if client is None:
        raise PacsError(f"there is nowhere to send reports to: set {PREFIX}DICOMWEB_URL or {PREFIX}PACS_PEER")
    return DicomWebDestination(client, settings.dicomweb_deadline_seconds)


def _sources(
    settings: Settings, client: DicomWebClient | None, state: State, metrics: PacsMetrics, stack: ExitStack
) -> list[Watcher | Inbox]:
    sources: list[Watcher | Inbox] = []
    if client is not None and settings.pacs_poll_seconds:
        sources.append(Watcher(client, state, settings, metrics))
    if settings.pacs_dicom_port is not None:
        spool = Spool(
            settings.pacs_folder / "received", settings.pacs_max_received_bytes, settings.pacs_max_received_studies
        )
        stack.callback(Receiver(spool, settings, metrics).close)
        sources.append(Inbox(spool, settings, metrics))
    if not sources:
        names = f"{PREFIX}DICOMWEB_URL with {PREFIX}PACS_POLL_SECONDS, or {PREFIX}PACS_DICOM_PORT"
        raise PacsError(f"there is nowhere to have studies from: set {names}")
    return sources


def _expose(metrics: PacsMetrics, settings: Settings, stack: ExitStack) -> None:
    host, port = settings.pacs_metrics_host, settings.pacs_metrics_port
    try:
        server, _ = start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise PacsError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    logger.info("listening", extra={"host": host, "port": server.server_port})


async def _until_told(loops: list[Loop], drain_seconds: float) -> None:
    """Runs the loops. Told to stop, they finish the study at hand, within a time: given up, it is done anew later."""
    running = asyncio.get_running_loop()
    working = [asyncio.create_task(loop.run()) for loop in loops]

    def stop() -> None:
        for loop in loops:
            loop.stopping.set()
        running.call_later(drain_seconds, lambda: [task.cancel() for task in working])

    for name in (signal.SIGINT, signal.SIGTERM):
        running.add_signal_handler(name, stop)
    done, pending = await asyncio.wait(working, return_when=asyncio.FIRST_EXCEPTION)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        if not task.cancelled():
            task.result()
