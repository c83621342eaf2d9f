"""The application: load, verify, warm up, ready, drain."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI

from app import report
from app.api import docs, health, model, openapi, page, previews, reports, root
from app.api.cors import CorsMiddleware
from app.api.frame import FrameMiddleware
from app.api.middleware import CloseUnread, RequestMiddleware, UnforeseenMiddleware
from app.api.overload import OverloadMiddleware
from app.api.problems import install_problems
from app.api.service import Phase, Service
from app.images.pool import DecodePool
from app.inference.served_model import ServedModel
from app.settings import Settings, load_settings, unknown_variables
from app.telemetry import Metrics, traces_wanted

# OpenTelemetry is an extra, and what speaks DICOMweb slow to import: neither is unless it is wanted.
if TYPE_CHECKING:
    from app.dicomweb.client import DicomWebClient
    from app.tracing import Tracing

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings | None = None,
    tracing: Tracing | None = None,
    make_service: Callable[[Settings, Metrics], Service] = Service,
) -> FastAPI:
    """An application of its own: nothing is shared between two. Raises `SettingsError`.

    Without `tracing` the environment says whether there is any. A service that has a model already loads none.

    Its lifespan raises `CheckpointError` when the checkpoint is not the one to serve, `UnsupportedDeviceError`, and
    `WorkerStartError` when images cannot be decoded.
    """
    settings = settings or load_settings()
    tracing = tracing or _tracing_from_environment()
    service = make_service(settings, Metrics(tracing.encoded if tracing else None))
    service.dicomweb = _dicomweb(settings)
    app = FastAPI(
        title="xray-report",
        description=f"Drafts the report of a chest X-ray study. {report.DISCLAIMER}",
        version="1",
        lifespan=_lifespan,
        docs_url=None,  # FastAPI's own loads Swagger UI from another host
        redoc_url=None,
        redirect_slashes=False,  # to whatever host the client named, and by plain http behind a proxy
        # FastAPI's own traces hold paths and queries, its records what was sent.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.service = service
    route = reports.router.routes[0]
    app.add_middleware(OverloadMiddleware, service=service, path=openapi.REPORT_PATH, route=route)
    app.add_middleware(FrameMiddleware)
    app.add_middleware(UnforeseenMiddleware)
    if settings.cors_origins:
        app.add_middleware(CorsMiddleware, origins=settings.cors_origins)
    app.add_middleware(RequestMiddleware, metrics=service.metrics)
    if tracing:
        from app.tracing import TracingMiddleware

        app.add_middleware(TracingMiddleware, tracing=tracing)
    app.add_middleware(CloseUnread)
    install_problems(app)
    for part in (root, page, reports, previews, model, health, docs):
        app.include_router(part.router)
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


def create_engine_service(settings: Settings) -> Service:
    """The service of the process that has the engine and takes no requests: for `living`."""
    tracing = _tracing_from_environment()
    return Service(settings, Metrics(tracing.encoded if tracing else None))


def _tracing_from_environment() -> Tracing | None:
    if not traces_wanted(os.environ):
        return None
    try:
        from app.tracing import Tracing, provider_from
    except ImportError:
        logger.warning("no traces: they need the packages of the extra xray-report[tracing]")
        return None
    return Tracing(provider_from(os.environ))


def _dicomweb(settings: Settings) -> DicomWebClient | None:
    if settings.dicomweb_url is None:
        return None
    from app.dicomweb.client import DicomWebClient

    secret = settings.dicomweb_authorization
    return DicomWebClient(settings.dicomweb_url, secret.get_secret_value() if secret else None)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with living(app.state.service):
        yield


@asynccontextmanager
async def living(service: Service, *, decoding: bool = True) -> AsyncIterator[None]:
    """A service from loading to its end, with processes that decode images or without. Raises as the lifespan of
    `create_app`."""
    try:
        await asyncio.to_thread(_load, service, decoding)
        # In the background: the port is open meanwhile, and /readyz says 503.
        async with asyncio.TaskGroup() as background:
            background.create_task(_warm_up(service))
            yield
            service.drain()
            logger.info("stopping")
    finally:
        if service.dicomweb is not None:
            await service.dicomweb.close()
        await asyncio.to_thread(_close, service)


def _load(service: Service, decoding: bool) -> None:
    with ThreadPoolExecutor(1) as beside:  # the decode workers start while the checkpoint is loaded
        decoder = beside.submit(_start_decoder, service) if decoding else None
        model = service.model or _load_model(service)
        if decoder:
            decoder.result().network_size = model.image_size
    service.metrics.model.info(_card(model))
    service.metrics.expect(model.finding_names, model.operating_points)


def _load_model(service: Service) -> ServedModel:
    from app.local_reports import load_generator  # imports torch, which not every process needs

    for name in unknown_variables(os.environ):
        logger.warning("%s is no setting of this service; it is ignored", name)
    service.generator = generator = load_generator(service.settings, service.metrics)
    logger.info("loaded", extra={"model": _card(generator.model), "decoder": generator.decoder_name})
    return generator.model


def _card(model: ServedModel) -> dict[str, str]:
    return {name: getattr(model, name) for name in ("name", "version", "sha256", "device", "precision")}


def _start_decoder(service: Service) -> DecodePool:
    settings = service.settings
    service.decoder = DecodePool(
        settings.decode_workers, timeout=settings.decode_deadline_seconds, max_pixels=settings.max_pixels
    )
    return service.decoder


async def _warm_up(service: Service) -> None:
    try:
        await service.warm_up()
        # What was made so far stays. Every full collection would go through it again: 150 ms in which no thread runs.
        gc.collect()
        gc.freeze()
    except Exception:
        logger.exception("warming up failed")
        service.fail()
    else:
        if service.phase is Phase.STARTING:
            service.phase = Phase.READY
            logger.info("ready")
    finally:
        gc.enable()  # the command line starts without


def _close(service: Service) -> None:
    if service.generator is not None:
        service.generator.close(service.settings.drain_seconds)
    if service.decoder is not None:
        service.decoder.close()
