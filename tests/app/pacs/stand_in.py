"""A STAND-IN for the service, where a test needs one that fails as told: same routes, same headers, no model.

What it writes as SR and PDF are data sets without content, but for the identifiers that the loop rests on: as the
service's they are derived from the images.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid
from python_multipart.multipart import parse_options_header

CLASSES = {"sr": (Comprehensive3DSRStorage, "SR"), "pdf": (EncapsulatedPDFStorage, "DOC")}


@dataclass
class StandIn:
    """What it was asked, and how it is to answer."""

    port: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)  # object and number of images
    # Answers to come before others: status, problem type, Retry-After.
    failures: list[tuple[int, str, str | None]] = field(default_factory=list)
    refuse_studies: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def answer_with(files: list[bytes], kind: str) -> bytes:
    """The object of a study."""
    sources = [dcmread(io.BytesIO(file), force=True) for file in files]
    uids = sorted(str(source.SOPInstanceUID) for source in sources)
    sop_class, modality = CLASSES[kind]
    made = Dataset()
    for name in (
        "PatientName",
        "PatientID",
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyID",
    ):
        setattr(made, name, sources[0].get(name, ""))
    made.Modality, made.SOPClassUID = modality, sop_class
    made.SOPInstanceUID = generate_uid(entropy_srcs=["object", kind, *uids])
    made.SeriesInstanceUID = generate_uid(entropy_srcs=["series", kind, *uids])
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """It listens while the context lasts."""
    told = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer(200, "application/json", json.dumps({"limits": {"max_images": 4}}).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            _, parameters = parse_options_header(self.headers["Content-Type"])
            parts = body.split(b"--" + parameters[b"boundary"])[1:-1]
            files = [part.partition(b"\r\n\r\n")[2][:-2] for part in parts]
            kind = parse_qs(urlsplit(self.path).query)["object"][0]
            told.asked.append((kind, len(files)))
            studies = {str(dcmread(io.BytesIO(file), force=True).StudyInstanceUID) for file in files}
            if told.failures:
                status, problem, later = told.failures.pop(0)
                self._answer(status, "application/problem+json", json.dumps({"type": problem}).encode(), later)
            elif studies & told.refuse_studies:
                self._answer(422, "application/problem+json", b'{"type": "not-a-chest-xray"}')
            else:
                self._answer(200, "application/dicom", answer_with(files, kind))

        def _answer(self, status: int, kind: str, body: bytes, later: str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if later:
                self.send_header("Retry-After", later)
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
