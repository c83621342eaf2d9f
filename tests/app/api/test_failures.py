"""Whose failure it is: what a client can cause never counts against the engine."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import pytest

from app.api.service import FAILURES_IN_A_ROW, Service
from app.inference.errors import GenerationError, StudyError
from tests.app.api.test_reports import post
from tests.app.conftest import client_of, running

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("error", "ready"), [(StudyError("its own"), 200), (GenerationError("the engine's"), 503)])
async def test_whose_failure(tiny_checkpoint: Path, picture: bytes, error: Exception, ready: int) -> None:
    """What studies make fail by themselves never costs readiness, however many come; what the engine fails at does."""
    async with running(tiny_checkpoint) as app, client_of(app) as client:
        service: Service = app.state.service

        def submit(*_: object, **__: object) -> Future[object]:
            failed: Future[object] = Future()
            failed.set_exception(error)
            return failed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service.generator, "submit", submit)
            for _ in range(2 * FAILURES_IN_A_ROW):
                assert (await post(client, picture)).json()["type"] == "internal-error"
        assert (await client.get("/readyz")).status_code == ready


async def test_bad_requests_leave_the_count(tiny_checkpoint: Path, picture: bytes) -> None:
    """Requests that never reach the engine say nothing of it; a study that fails by itself says that it works."""
    async with running(tiny_checkpoint) as app, client_of(app) as client:
        service: Service = app.state.service
        service.failures = 3
        assert (await post(client, picture, num_beams=9)).status_code == 422
        assert (await post(client, b"no image")).status_code == 415
        assert service.failures == 3
        with pytest.raises(StudyError):
            async with service.admit():
                raise StudyError("its own")
        assert service.failures == 0


async def test_a_report_that_cannot_be_put_together(
    tiny_checkpoint: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the engine, what fails is the study's own: heatmaps of one study never cost readiness."""
    async with running(tiny_checkpoint) as app, client_of(app) as client:

        def fail(*_: object) -> None:
            raise ValueError

        monkeypatch.setattr("app.inference.report_builder.make_heatmaps", fail)
        for _ in range(2 * FAILURES_IN_A_ROW):
            assert (await post(client, picture, include="heatmaps")).status_code == 500
        assert (await client.get("/readyz")).status_code == 200
