"""`xray-report pacs` in a process of its own, to be killed at any moment; and how studies come to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made when the module is loaded

from app.dicomweb.multipart import enclose
from benchmarks.server import started
from tests.app.pacs.orthanc import wait_for

QUICK = {"pacs_poll_seconds": 0.2, "pacs_stable_seconds": 0.5, "pacs_lookback_days": 0, "pacs_max_pause_seconds": 1,
         "pacs_metrics_port": 0}  # fmt: skip


class Pacs:
    """A running loop."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self.process = process
        self.log_file = log_file

    @property
    def written(self) -> str:
        return self.log_file.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its log lines so far; every line is a JSON object."""
        return [json.loads(line) for line in self.written.rpartition("\n")[0].splitlines()]

    def line(self, message: str, **fields: object) -> dict[str, Any]:
        """The first log line of this kind, once it is there."""

        def find() -> list[dict[str, Any]]:
            assert self.process.poll() is None or message == "stopping", self.written[-2000:]
            return [one for one in self.log if one["message"] == message and fields.items() <= one.items()]

        wait_for(find, f"a log line {message} {fields}")
        return find()[0]

    @property
    def dicom_port(self) -> int:
        return int(self.line("receiving")["port"])

    def metrics(self) -> dict[str, float]:
        """Its series by name and labels as they stand in the exposition."""
        port = self.line("listening")["port"]
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        found = re.findall(r"^(xray_report_pacs_\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}


@contextmanager
def looping(folder: Path, number: int = 0, **settings: object) -> Iterator[Pacs]:
    """`xray-report pacs`, what it remembers in `folder`; killed in the end unless it has stopped."""
    given = {**QUICK, "pacs_folder": folder / "pacs", **settings}
    environment = {f"XRAY_REPORT_{name.upper()}": str(value) for name, value in given.items()}
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"pacs-{number}.log"
    with started([sys.executable, "-m", "app.cli", "pacs"], log, environment) as process:
        yield Pacs(process, log)


def stow(url: str, file: bytes) -> None:
    """Stores a file by STOW-RS."""
    content_type, body = enclose(file)
    headers = {"Content-Type": content_type, "Accept": "application/dicom+json"}
    answer = httpx.post(f"{url}/studies", content=body, headers=headers, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text


def c_store(port: int, files: Iterable[bytes], title: str = "XRAYREPORT") -> list[int]:
    """Stores files by C-STORE, on one association. The statuses answered; -1 where there came none."""
    datasets = [dcmread(DicomBytesIO(file), force=True) for file in files]
    entity = AE("MODALITY")
    for sop_class, syntax in {(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in datasets}:
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=title)
    assert association.is_established
    try:
        return [association.send_c_store(one).get("Status", -1) for one in datasets]
    finally:
        association.release()


def c_echo(port: int, title: str = "XRAYREPORT", ours: str = "MODALITY") -> int | None:
    """The status answered to C-ECHO; None where there is no association."""
    entity = AE(ours)
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title=title)
    if not association.is_established:
        return None
    try:
        return int(association.send_c_echo().get("Status", -1))
    finally:
        association.release()
