"""What deploy/ray/serve.yaml names: the application for Ray Serve, with the extra `ray`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.server.ray import deployment

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """A replica's. As `app.main.create_app`, in a process that was not started for it."""
    from app import main  # torch is for replicas alone
    from app.inference.memory import give_back_freed_memory

    give_back_freed_memory()
    return main.create_app(settings)


application = deployment(create_app)
