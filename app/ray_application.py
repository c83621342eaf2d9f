"""What deploy/ray/serve.yaml names: the application for Ray Serve, with the extra `ray`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.server.ray import deployment

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.settings import Settings


def _create_app(settings: Settings) -> FastAPI:
    from app.inference.memory import give_back_freed_memory
    from app.main import create_app  # torch is for replicas alone

    give_back_freed_memory()
    return create_app(settings)


application = deployment(_create_app)
