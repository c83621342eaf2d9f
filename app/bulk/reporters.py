"""Who writes the reports: a service, or the model of the settings in this process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from app.bulk.study import StopError
from app.service_client import ProblemError, ServiceClient, UnreachableError

if TYPE_CHECKING:
    from app.api.options import ReportOptions
    from app.images.decode import DecodedImage
    from app.images.pool import DecodePool
    from app.local_reports import LocalReports
    from app.settings import Settings

_JSON = "application/json"
_ANSWER_SECONDS = 120.0  # until the service has said how long it may take
_MAX_CONNECTIONS = 1024


class Reporter(Protocol):
    """`model` is what `/v1/model` says. `report` raises `ProblemError`, and `UnreachableError` while it is away."""

    async def model(self) -> Mapping[str, Any]:
        """What there is."""

    async def report(self, files: Sequence[bytes], request_id: str) -> Mapping[str, Any]:
        """The answer about one study."""


class ServiceReporter:
    """A running service."""

    def __init__(self, client: ServiceClient, options: Mapping[str, str]) -> None:
        self._client, self._options = client, options

    async def model(self) -> Mapping[str, Any]:
        """What `/v1/model` answers."""
        model = await self._client.model()
        with suppress(LookupError, TypeError):  # what lacks limits is refused by who needs them
            limits = model["limits"]
            self._client.be_patient(limits["receive_deadline_seconds"] + limits["request_deadline_seconds"])
        return model

    async def report(self, files: Sequence[bytes], request_id: str) -> Mapping[str, Any]:
        """What `/v1/report` answers."""
        content = await self._client.report(files, _JSON, self._options, request_id)
        try:
            answer = json.loads(content)
            _ = answer["report"]["sections"], answer["findings"], answer["warnings"]
        except (ValueError, LookupError, TypeError) as error:
            raise UnreachableError("it answers with something else than a report") from error
        return dict(answer)


class LocalReporter:
    """The model in this process, images decoded in others."""

    def __init__(self, reports: LocalReports, decoder: DecodePool, options: ReportOptions, settings: Settings) -> None:
        self._reports, self._decoder, self._options, self._settings = reports, decoder, options, settings

    async def model(self) -> Mapping[str, Any]:
        """As the service would describe it."""
        from app.api.model import describe

        return describe(self._reports.model, self._settings).model_dump()

    async def report(self, files: Sequence[bytes], request_id: str) -> Mapping[str, Any]:
        """As the service would answer."""
        from app.api.problems import problem_from
        from app.images.sandbox import WorkerStartError
        from app.inference.errors import EngineStoppedError, GenerationError

        try:
            return await self._report(files)
        except EngineStoppedError as error:
            raise StopError("the engine has stopped") from error
        except (ValueError, GenerationError, WorkerStartError) as error:
            problem = problem_from(error)
            raise ProblemError(problem.status, problem.type, problem.detail) from error

    async def _report(self, files: Sequence[bytes]) -> Mapping[str, Any]:
        started = time.monotonic()
        decoding = [asyncio.wrap_future(self._decoder.decode(file)) for file in files]
        images: list[DecodedImage] = await asyncio.gather(*decoding)
        decoded = time.monotonic()
        report = await asyncio.wrap_future(self._reports.start(images, self._options))
        seconds = decoded - started, time.monotonic() - started
        return self._reports.answer(report, images, self._options, *seconds).model_dump(mode="json", exclude_none=True)


@asynccontextmanager
async def service_at(url: str, key: str | None, options: Mapping[str, str]) -> AsyncIterator[Reporter]:
    """The service at an address, while the context lasts."""
    client = ServiceClient(url, key, _ANSWER_SECONDS, _MAX_CONNECTIONS)
    try:
        yield ServiceReporter(client, options)
    finally:
        await client.close()


@asynccontextmanager
async def model_here(settings: Settings, given: Mapping[str, str]) -> AsyncIterator[Reporter]:
    """The model of the settings, while the context lasts. Raises `StopError`."""
    from app.api.problems import Problem
    from app.images.pool import DecodePool
    from app.images.sandbox import WorkerStartError
    from app.inference.errors import CheckpointError, UnsupportedDeviceError
    from app.local_reports import LocalReports

    try:
        with LocalReports.of(settings) as reports:
            options = reports.options(given)
            decoder = DecodePool(
                settings.decode_workers,
                timeout=settings.decode_deadline_seconds,
                max_pixels=settings.max_pixels,
                network_size=reports.model.image_size,
            )
            try:
                yield LocalReporter(reports, decoder, options, settings)
            finally:
                decoder.close()
    except Problem as error:
        raise StopError(error.detail) from error
    except (CheckpointError, UnsupportedDeviceError, WorkerStartError) as error:
        raise StopError(str(error)) from error
