"""Studies sent by C-STORE: what is taken is on disk, what is not is answered so, and nobody can fill or hang us."""

from __future__ import annotations

import gc
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from pynetdicom import AE

from app.dicomweb.header import read_instance
from app.pacs.errors import PacsError
from app.pacs.metrics import PacsMetrics
from app.pacs.receiver import Receiver
from app.pacs.spool import Spool, SpoolFullError
from app.settings import load_settings
from tests.app.dicom_phantoms import Storage, dicom
from tests.app.pacs.orthanc import wait_for
from tests.app.pacs.running import c_echo, c_store

PICTURE = (np.mgrid[:80, :64].sum(0) % 251).astype(np.uint8)
# pynetdicom leaves a socket whose peer is gone to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
Start = Callable[..., tuple[Receiver, Spool, PacsMetrics]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts receivers over the folder of the test."""
    with ExitStack() as stack:

        def begin(**settings: Any) -> tuple[Receiver, Spool, PacsMetrics]:
            given = load_settings(checkpoint="none.pt", pacs_dicom_port=0, **settings)
            spool = Spool(tmp_path / "received", given.pacs_max_received_bytes, given.pacs_max_received_studies)
            metrics = PacsMetrics()
            receiver = Receiver(spool, given, metrics)
            stack.callback(receiver.close)
            return receiver, spool, metrics

        yield begin
    gc.collect()  # the sockets that pynetdicom leaves: here, where what they warn of is expected


def received(metrics: PacsMetrics, outcome: str) -> float:
    return metrics.registry.get_sample_value("xray_report_pacs_received_total", {"outcome": outcome}) or 0.0


def files(spool: Spool) -> list[Path]:
    return [file.path for study in spool.settled(0) for file in study]


def test_echo(start: Start) -> None:
    """C-ECHO is answered with success, under our AE title alone."""
    receiver, _, _ = start()
    assert c_echo(receiver.port) == 0x0000
    assert c_echo(receiver.port, title="OTHER") is None


def test_calling_titles(start: Start) -> None:
    """Where callers are named, no other may call."""
    receiver, _, _ = start(pacs_calling_ae_titles="MODALITY,OTHER")
    assert c_echo(receiver.port) == 0x0000
    assert c_echo(receiver.port, ours="STRANGER") is None


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_store(start: Start, syntax: str) -> None:
    """An image is on disk as it was sent once it is answered with success; sent again it is there once."""
    receiver, spool, metrics = start()
    file = dicom(PICTURE, Storage(syntax, bits=8), number=1)
    assert c_store(receiver.port, [file, file]) == [0x0000, 0x0000]
    (path,) = files(spool)
    assert read_instance(path) == read_instance(file)
    assert read_instance(file) is not None
    assert spool.held_bytes == path.stat().st_size
    assert received(metrics, "stored") == 2


def test_grouped_by_study(start: Start) -> None:
    """The images of a study lie together; it is settled when nothing was added for a while."""
    receiver, spool, _ = start()
    sent = [dicom(PICTURE, number=number, instance=instance) for number in (1, 2) for instance in (1, 2)]
    assert c_store(receiver.port, sent) == [0x0000] * 4
    assert [len(study) for study in spool.settled(0)] == [2, 2]
    assert spool.settled(60) == []


def test_names_on_disk(start: Start) -> None:
    """Files are named by hashes: neither a UID nor a path that is none reaches the disk."""
    receiver, spool, _ = start()
    c_store(receiver.port, [dicom(PICTURE)])
    (path,) = files(spool)
    assert all(len(part) == 40 and set(part) <= set("0123456789abcdef") for part in (path.stem, path.parent.name))
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    "tags", [{"StudyInstanceUID": "../../../../tmp/evil"}, {"StudyInstanceUID": None}, {"SeriesInstanceUID": "1..2"}]
)
def test_identifiers_that_cannot_be(start: Start, tags: dict[str, Any]) -> None:
    """An object without valid identifiers is not understood."""
    receiver, spool, metrics = start()
    assert c_store(receiver.port, [dicom(PICTURE, **tags)]) == [0xC000]
    assert files(spool) == []
    assert received(metrics, "not_understood") == 1


@pytest.mark.parametrize(
    ("sop_class", "syntax"),
    [
        (EncapsulatedPDFStorage, ExplicitVRLittleEndian),
        ("1.2.840.10008.5.1.4.1.1.88.34", ExplicitVRLittleEndian),
        ("1.2.840.10008.5.1.4.1.1.2", ExplicitVRLittleEndian),
        (ComputedRadiographyImageStorage, DeflatedExplicitVRLittleEndian),
    ],
)
def test_not_negotiated(start: Start, sop_class: str, syntax: str) -> None:
    """PDFs, SRs, CT and the deflated syntax cannot be sent to us."""
    receiver, _, _ = start()
    entity = AE("MODALITY")
    entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", receiver.port, ae_title="XRAYREPORT")
    assert not association.is_established


def test_full(start: Start) -> None:
    """With too many bytes or studies, an object is refused as out of resources; those of a study begun still fit."""
    receiver, spool, metrics = start(pacs_max_received_studies=1)
    one, other, more = dicom(PICTURE), dicom(PICTURE, number=2), dicom(PICTURE, instance=2)
    assert c_store(receiver.port, [one, other, more]) == [0x0000, 0xA700, 0x0000]
    assert received(metrics, "out_of_resources") == 1
    small = Spool(spool._folder, spool.held_bytes, 10)
    instance = read_instance(other)
    assert instance is not None
    with pytest.raises(SpoolFullError):
        small.add(instance, other)


def test_room_comes_back(start: Start) -> None:
    """What is dropped makes room, unless it came anew meanwhile."""
    receiver, spool, _ = start()
    c_store(receiver.port, [dicom(PICTURE), dicom(PICTURE, instance=2)])
    (study,) = spool.settled(0)
    time.sleep(0.01)
    c_store(receiver.port, [dicom(PICTURE)])
    spool.drop(study)
    assert len(files(spool)) == 1
    spool.drop(spool.settled(0)[0])
    assert (spool.held_bytes, spool.count()) == (0, 0)


def test_restart(start: Start, tmp_path: Path) -> None:
    """What was answered with success is there after a restart, what was half written is not."""
    receiver, spool, _ = start()
    c_store(receiver.port, [dicom(PICTURE)])
    held = spool.held_bytes
    half = files(spool)[0].with_suffix(".part")
    half.write_bytes(b"half")
    again = Spool(tmp_path / "received", 10**9, 10)
    assert (again.held_bytes, len(files(again))) == (held, 1)
    assert not half.exists()


def test_object_too_large(start: Start) -> None:
    """An association on which an object grows beyond the bound is ended before it is held."""
    receiver, spool, _ = start(max_image_bytes=2**20)
    large = dicom(np.zeros((4000, 1000), np.uint8))
    assert c_store(receiver.port, [large]) == [-1]
    assert files(spool) == []
    between = dicom(np.zeros((1500, 1000), np.uint8), Storage(bits=8))  # it still fits a message, and is answered
    assert c_store(receiver.port, [between]) == [0xA700]
    assert c_echo(receiver.port) == 0x0000


def test_too_many_associations(start: Start) -> None:
    """No more associations than allowed are open at once; when one ends, another may come."""
    receiver, _, _ = start(pacs_max_associations=2)
    entity = AE("MODALITY")
    entity.add_requested_context("1.2.840.10008.1.1")
    one, two, three = (entity.associate("127.0.0.1", receiver.port, ae_title="XRAYREPORT") for _ in range(3))
    assert [one.is_established, two.is_established, three.is_established] == [True, True, False]
    one.release()
    wait_for(lambda: c_echo(receiver.port) == 0x0000, "there is room again")
    two.release()


def test_giant_pdu(start: Start) -> None:
    """A message that claims four gigabytes ends its connection at once."""
    receiver, _, _ = start()
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 2**32 - 1) + b"x" * 1000)
        connection.settimeout(20)
        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert c_echo(receiver.port) == 0x0000


def test_many_silent_connections(start: Start) -> None:
    """Connections on which nothing is asked for are bounded, too."""
    receiver, _, _ = start(pacs_max_associations=1)
    connections = [socket.create_connection(("127.0.0.1", receiver.port), timeout=20) for _ in range(40)]
    try:
        with suppress(ConnectionError):
            connections[-1].settimeout(20)
            assert connections[-1].recv(1) == b""
        assert len(receiver._server.active_associations) < 25
    finally:
        for connection in connections:
            connection.close()


def test_closing_beside_a_silent_connection(start: Start) -> None:
    """It ends the connection, and no thread of it with an error, which would fail this test."""
    _, spool, metrics = start()
    receiver = Receiver(spool, load_settings(checkpoint="none.pt", pacs_dicom_port=0), metrics)
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as connection:
        wait_for(lambda: receiver._server.active_associations, "a connection taken")
        receiver.close()
        assert connection.recv(1) == b""


def test_port_taken(start: Start) -> None:
    """A port that is taken is said at start."""
    receiver, _, _ = start()
    settings = load_settings(checkpoint="none.pt", pacs_dicom_port=receiver.port)
    with pytest.raises(PacsError, match=f"cannot listen on 127.0.0.1 port {receiver.port}"):
        Receiver(receiver._spool, settings, PacsMetrics())
