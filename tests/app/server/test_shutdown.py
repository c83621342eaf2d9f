"""SIGTERM at a real server that is at work: nothing in flight is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.app.running_server import serving

IN_FLIGHT = 12


def test_in_flight(tiny_checkpoint: Path, picture: bytes) -> None:
    """Studies in the queue, on the device and still being uploaded get their reports; the exit code is 0."""
    with serving(tiny_checkpoint, max_rows=8) as server, ThreadPoolExecutor(IN_FLIGHT + 1) as threads:

        def post(content: bytes | Iterator[bytes]) -> int:
            with server.client() as client:
                path = "/v1/report?num_beams=8&min_new_tokens=40"
                return client.post(path, content=content, headers={"content-type": "image/png"}).status_code

        def upload() -> Iterator[bytes]:
            yield picture[:100]
            time.sleep(1.0)
            yield picture[100:]

        with server.client() as client:
            uploading = threads.submit(post, upload())
            waiting = [threads.submit(post, picture) for _ in range(IN_FLIGHT)]
            while "xray_report_active_rows 8.0" not in client.get("/metrics").text:
                pass
            server.process.send_signal(signal.SIGTERM)
            assert [future.result() for future in (*waiting, uploading)] == [200] * (IN_FLIGHT + 1)
            assert server.process.wait(20) == 0
            with pytest.raises(httpx.ConnectError):
                client.get("/readyz")
