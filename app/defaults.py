"""Defaults of settings that the command line states: apart from `Settings`, for which `--help` must not wait."""

from __future__ import annotations

HOST = "127.0.0.1"
PORT, MAX_PORT = 8000, 65_535
