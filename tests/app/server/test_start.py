"""What starting costs, and what a start that fails leaves behind."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from app.api.service import Service
from app.images.sandbox import WorkerStartError
from app.inference.errors import CheckpointError
from app.main import create_app
from app.settings import load_settings
from tests.app.conftest import running

pytestmark = pytest.mark.anyio


async def test_garbage_is_collected_once_ready(tiny_checkpoint: Path) -> None:
    """The command line starts without, for what start-up makes stays; from then on there is some to collect."""
    gc.disable()
    try:
        async with running(tiny_checkpoint):
            await asyncio.sleep(0.05)
            assert gc.isenabled()
    finally:
        gc.enable()


async def test_wrong_checkpoint_leaves_no_worker(tiny_checkpoint: Path) -> None:
    """The decode workers, which start beside the checkpoint's loading, go with it when it is the wrong one."""
    app = create_app(load_settings(checkpoint=tiny_checkpoint, checkpoint_sha256="0" * 64, decode_workers=1))
    service: Service = app.state.service
    with pytest.raises(CheckpointError):
        async with app.router.lifespan_context(app):
            pass
    assert service.decoder is not None
    assert service.decoder._seats.empty()


async def test_no_worker_leaves_no_engine(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without decode workers the service does not start, and the engine made beside them ends."""

    def fail(*_: object) -> None:
        raise WorkerStartError("no decode worker can be started")

    monkeypatch.setattr("app.images.pool.Worker", fail)
    app = create_app(load_settings(checkpoint=tiny_checkpoint, device="cpu", decode_workers=1))
    with pytest.raises(WorkerStartError):
        async with app.router.lifespan_context(app):
            pass
    assert not app.state.service.generator.alive
