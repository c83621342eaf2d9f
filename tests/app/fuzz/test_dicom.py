"""DICOM files that others were surprised by, and bombs, against the real server: in time and in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from benchmarks.server import Server
from tests.app.dicom_bombs import bombs
from tests.app.fuzz.test_corpus import QUICK, URL
from tests.app.running_server import serving

FILES_OF_PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
SLOWEST_SECONDS = 5.0
MORE_MEBIBYTES = 300


@pytest.fixture(scope="module")
def dicom_server(tiny_checkpoint: Path) -> Iterator[Server]:
    """A real server with the default limits and one worker, which is watched."""
    with serving(tiny_checkpoint) as server:
        yield server


def peak(server: Server) -> float:
    """The most mebibytes that the workers have held since `forget`, and the server holds."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in server.workers]
    return sum(int(text.split("VmHWM:")[1].split()[0]) for text in status) / 1024


def forget(server: Server) -> None:
    for pid in server.workers:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def test_files_of_pydicom(dicom_server: Server) -> None:
    """Each file that pydicom is tested with is answered 200 or a documented 4xx, none with a 5xx, in bounded memory."""
    files = sorted(path for path in FILES_OF_PYDICOM.rglob("*") if path.is_file())
    assert len(files) > 100
    before = peak(dicom_server)
    forget(dicom_server)
    statuses = set()
    with dicom_server.client() as client:
        documented = client.get("/openapi.json").json()["paths"][URL]["post"]["responses"]
        for file in files:
            response = client.post(URL, params=QUICK, content=file.read_bytes() or b" ")
            assert response.status_code == 200 or 400 <= response.status_code < 500, file.name
            assert str(response.status_code) in documented, file.name
            statuses.add(response.status_code)
    assert {200, 415, 422} <= statuses
    assert peak(dicom_server) < before + MORE_MEBIBYTES


def test_bombs(dicom_server: Server, long: bool) -> None:
    """Each bomb is refused in little memory and, where it has the machine to itself, in less than five seconds."""
    with dicom_server.client() as client:
        for name, file in bombs():
            before = peak(dicom_server)
            forget(dicom_server)
            response = client.post(URL, params=QUICK, content=file)
            assert 400 <= response.status_code < 500, name
            assert peak(dicom_server) < before + MORE_MEBIBYTES, name
            if long:
                assert response.elapsed.total_seconds() < SLOWEST_SECONDS, name
    assert "error" not in {entry["level"] for entry in dicom_server.log}
