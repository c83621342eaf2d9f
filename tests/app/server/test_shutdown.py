"""SIGTERM at a real server that is at work: nothing in flight is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
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
            received = f'xray_report_stage_duration_seconds_count{{stage="receive"}} {IN_FLIGHT}.0'
            while not {received, "xray_report_active_rows 8.0"} <= {*client.get("/metrics").text.splitlines()}:
                pass
            server.process.send_signal(signal.SIGTERM)
            assert [future.result() for future in (*waiting, uploading)] == [200] * (IN_FLIGHT + 1)
            assert server.process.wait(20) == 0
            with pytest.raises(httpx.ConnectError):
                client.get("/readyz")


@pytest.mark.parametrize("bound", ["ge", "le"])
def test_settings_at_their_bounds(tiny_checkpoint: Path, picture: bytes, bound: str) -> None:
    """With every number at one end of its range the service starts, and ends when told; at the upper it reports."""
    costly = {"threads": 2, "decode_workers": 2, "fronts": 2}  # threads and processes
    ends = {
        name: getattr(one, bound)
        for name, field in Settings.model_fields.items()
        for one in field.metadata
        if hasattr(one, bound)
    }
    own = {"port": 0, "drain_delay_seconds": 0, "stall_seconds": 0.01 if bound == "ge" else 3599.0}
    with serving(tiny_checkpoint, **{**ends, **costly, **own}) as server:
        if bound == "le":
            with server.client() as client:
                assert client.post("/v1/report", files={"image": picture}).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
