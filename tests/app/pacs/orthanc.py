"""A real PACS: Debian's Orthanc with its DICOMweb plugin, on loopback, its files in a folder of the test."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.server import free_port, started

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
HOST, TITLE = "127.0.0.1", "ORTHANC"
PATIENCE_SECONDS = 60.0


@dataclass
class Orthanc:
    """A running one."""

    http_port: int
    dicom_port: int
    process: subprocess.Popen[bytes]

    @property
    def dicomweb_url(self) -> str:
        return f"http://{HOST}:{self.http_port}/dicom-web"

    def client(self) -> httpx.Client:
        """Of its own REST interface, by which tests look at it."""
        return httpx.Client(base_url=f"http://{HOST}:{self.http_port}", trust_env=False, timeout=PATIENCE_SECONDS)

    def objects(self, *modalities: str) -> list[tuple[str, str, str]]:
        """Study UID, modality and Orthanc's id of all objects, of these modalities or all."""
        found = []
        with self.client() as client:
            for series in client.get("/series?expand").json():
                study = client.get(f"/studies/{series['ParentStudy']}").json()["MainDicomTags"]["StudyInstanceUID"]
                modality = series["MainDicomTags"]["Modality"]
                found += [
                    (study, modality, one) for one in series["Instances"] if modality in modalities or not modalities
                ]
        return found

    def count(self) -> int:
        """How many objects it has."""
        with self.client() as client:
            return int(client.get("/statistics").json()["CountInstances"])

    def file(self, identity: str) -> bytes:
        """An object's file, by Orthanc's id."""
        with self.client() as client:
            return client.get(f"/instances/{identity}/file").content


@contextmanager
def orthanc(
    folder: Path, http_port: int | None = None, dicom_port: int | None = None, **more: Any
) -> Iterator[Orthanc]:
    """Orthanc over the files in `folder`; skips the test where it is not installed."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None or not PLUGIN.exists():
        pytest.skip("orthanc and orthanc-dicomweb are not installed")
    http_port, dicom_port = http_port or free_port(), dicom_port or free_port()
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": http_port,
        "HttpBindAddresses": [HOST],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomPort": dicom_port,
        "DicomAet": TITLE,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "UnknownSopClassAccepted": True,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with started([program, str(folder / "orthanc.json")], folder / "orthanc.log", {}) as process:
        running = Orthanc(http_port, dicom_port, process)
        with running.client() as client:
            wait_for(lambda: _answers(client), "Orthanc starts")
        yield running


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/system").status_code == 200
    except httpx.TransportError:
        return False


def wait_for(condition: Any, what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Returns once the condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not in {seconds} s: {what}"
        time.sleep(0.05)
