"""Applications over the tiny checkpoint, and images as clients send them."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from fastapi import FastAPI

from app.api.service import Phase, Service
from app.main import create_app
from app.settings import load_settings
from tests.app.pictures import phantom, png


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """The environment of whoever runs the tests does not reach them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("XRAY_REPORT_") and name != "XRAY_REPORT_DATA":
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    """An application sets torch's threads for its process, which is ours here."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def running(checkpoint: Path, tracing: Any = None, **settings: Any) -> AsyncIterator[FastAPI]:
    """An application past its warm-up."""
    app = create_app(load_settings(checkpoint=checkpoint, device="cpu", decode_workers=1, **settings), tracing)
    async with app.router.lifespan_context(app):
        service: Service = app.state.service
        while service.phase is Phase.STARTING:  # noqa: ASYNC110  # asked the way a balancer would
            await asyncio.sleep(0.01)
        assert service.ready
        yield app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """A client without a socket in between."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test")


@pytest.fixture(scope="session")
async def app(tiny_checkpoint: Path, anyio_backend: str) -> AsyncIterator[FastAPI]:
    """One application for all tests that leave it as it was."""
    async with running(tiny_checkpoint) as app:
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


@pytest.fixture(scope="session")
def tiny_sha256(tiny_checkpoint: Path) -> str:
    return hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A small PNG file."""
    return png(phantom())
