"""The application for Ray Serve with a decoder that fails in one replica, as the file `<FAULT_FILE>.<its pid>` says."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

from fastapi import FastAPI

from app.inference.network.packed_decoder import make_decoder
from app.ray_application import create_app
from app.server.ray import deployment
from app.settings import Settings
from tests.app.faulty import FAULT_FILE, FaultyDecoder


def _create_faulty_app(settings: Settings) -> FastAPI:
    fault = Path(f"{os.environ[FAULT_FILE]}.{os.getpid()}")
    patch("app.inference.generator.make_decoder", lambda *given: FaultyDecoder(make_decoder(*given), fault)).start()
    return create_app(settings)


application = deployment(_create_faulty_app)
