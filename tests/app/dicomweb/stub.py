"""A DICOMweb server that misbehaves as told, for what a real one does not do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from app.dicomweb.chest_images import TAGS, Instance

STUDY, SERIES = "1.2.3.4", "1.2.3.4.5"
CR = "1.2.840.10008.5.1.4.1.1.1"

Answer = Callable[[BaseHTTPRequestHandler], None]


def instance(number: int = 1, **more: Any) -> Instance:
    """An image of the study."""
    given: dict[str, Any] = {"study": STUDY, "series": SERIES, "uid": f"{SERIES}.{number}", "sop_class": CR,
                             "modality": "CR", "body_part": "CHEST", "view": "PA", "number": number}  # fmt: skip
    return Instance(**given | more)


def header(one: Instance) -> dict[str, Any]:
    """As a server answers it."""
    values = (one.study, one.series, one.uid, one.sop_class, one.modality, one.body_part, one.view, one.frames,
              one.series_number, one.number, "FOR PROCESSING" if one.raw else "")  # fmt: skip
    return {tag: {"vr": "UN", "Value": [value]} for tag, value in zip(TAGS, values, strict=True) if value != ""}


def reply(handler: BaseHTTPRequestHandler, status: int, kind: str, body: bytes, **headers: str) -> None:
    """A whole answer."""
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def multipart(body: bytes, parts: int = 1) -> tuple[str, bytes]:
    part = b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n"
    return 'multipart/related; type="application/dicom"; boundary=edge', part * parts + b"--edge--\r\n"


@dataclass
class Stub:
    """What it has, and what it answers instead, by the last part of the address."""

    port: int = 0
    objects: dict[str, tuple[Instance, bytes]] = field(default_factory=dict)
    instead: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def add(self, one: Instance, file: bytes) -> None:
        self.objects[one.uid] = one, file


def _answer(stub: Stub, handler: BaseHTTPRequestHandler) -> None:
    parts = handler.path.partition("?")[0].split("/")
    stub.asked.append(handler.path)
    if answer := stub.instead.get(parts[-1]) or stub.instead.get("*"):
        answer(handler)
        return
    if parts[-1] in stub.objects:
        reply(handler, 200, *multipart(stub.objects[parts[-1]][1]))
        return
    mine = [one for one, _ in stub.objects.values() if one.study in parts]
    if parts[-1] == "metadata":
        mine = [one for one in mine if one.series in parts]
        if not mine:
            reply(handler, 404, "text/plain", b"")
            return
    reply(handler, 200, "application/dicom+json", json.dumps([header(one) for one in mine]).encode())


@contextmanager
def stub() -> Iterator[Stub]:
    """It listens while the context lasts."""
    told = Stub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            with suppress(ConnectionError):
                _answer(told, self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        told.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
