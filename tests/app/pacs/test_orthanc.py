"""The whole of it: a real PACS, the real service, and a loop that is killed again and again."""

from __future__ import annotations

import io
import itertools
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
)

from benchmarks.server import Server
from tests.app.dicom_phantoms import Storage, dicom, uid
from tests.app.pacs.orthanc import Orthanc, orthanc, wait_for
from tests.app.pacs.running import c_echo, c_store, looping, stow
from tests.app.pictures import film
from tests.app.running_server import serving

SYNTAXES = (ExplicitVRLittleEndian, RLELossless, JPEGLossless, JPEGLSLossless, JPEG2000Lossless, ImplicitVRLittleEndian)
STUDIES = range(1, 11)
KILLS = 4
PATIENCE_SECONDS = 300.0


def phantoms() -> list[bytes]:
    """Twenty files: a frontal and a lateral view of ten patients, in every encoding, depth and polarity."""
    kinds = zip(
        itertools.cycle(SYNTAXES),
        itertools.cycle((8, 12, 16, 16)),
        itertools.cycle(("MONOCHROME2", "MONOCHROME1", "MONOCHROME2")),
    )
    views = itertools.product(STUDIES, enumerate(("PA", "LL"), 1))
    return [
        dicom(film(120, 100, seed=number), Storage(syntax, bits, photometric=polarity), number=number,
              instance=instance, ViewPosition=view, Modality="DX" if number % 2 else "CR")
        for (number, (instance, view)), (syntax, bits, polarity) in zip(views, kinds, strict=False)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def service(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Orthanc]]:
    """The service, connected to a PACS."""
    with (
        orthanc(tmp_path_factory.mktemp("orthanc")) as pacs,
        serving(tiny_checkpoint, dicomweb_url=pacs.dicomweb_url, dicomweb_deadline_seconds=60) as server,
    ):
        yield server, pacs


def reportable(server: Server, pacs: Orthanc) -> set[str]:
    """The studies of the PACS that the service, asked for each by its UID, reports on."""
    studies = {study for study, _, _ in pacs.objects("CR", "DX")}
    with server.client() as client:
        answers = {study: client.post("/v1/report", json={"dicomweb": {"study": study}}) for study in studies}
    assert all(answer.status_code < 500 for answer in answers.values())
    return {study for study, answer in answers.items() if answer.status_code == 200}


def secrets(files: Sequence[bytes]) -> set[str]:
    """What of the patients and their studies must not leave the PACS by the way of a log."""
    names = ("PatientName", "PatientID", "AccessionNumber", "StudyDate", "PatientBirthDate", "StudyID",
             "ReferringPhysicianName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")  # fmt: skip
    headers = [dcmread(io.BytesIO(file), stop_before_pixels=True, force=True) for file in files]
    found = {str(header.get(name, "")) for header in headers for name in names}
    return {one for one in found if len(one) >= 6}  # "0" stands in many a line


def assert_valid(made: Dataset, file: Path) -> None:
    """dicom3tools finds no error."""
    if shutil.which("dciodvfy") is None:
        return
    said = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False).stderr  # noqa: S603, S607
    errors = [line for line in said.splitlines() if line.startswith("Error")]
    assert errors == [], made.SOPClassUID.name


def test_exactly_once(service: tuple[Server, Orthanc], data_dir: Path, tmp_path: Path) -> None:
    """One valid SR and one PDF a study are in the PACS, none twice, however often the loop is killed on its way."""
    server, pacs = service
    real = [path.read_bytes() for path in sorted((data_dir / "dicom").glob("*.dcm"))]
    made = phantoms()
    assert len(made) == 20
    given = {"dicomweb_url": pacs.dicomweb_url, "pacs_service_url": f"http://127.0.0.1:{server.port}"}
    written = ""
    # Studies arrive whole, and between two deaths: half of them by C-STORE, the rest by STOW-RS.
    batches = [made[: len(made) // 2], made[len(made) // 2 :], real]
    for kill in range(KILLS):
        with looping(tmp_path, kill, **given) as loop:
            loop.line("ready")
            for file in batches.pop(0) if batches else ():
                header = dcmread(io.BytesIO(file), stop_before_pixels=True, force=True)
                if kill == 0 and "TransferSyntaxUID" in header.get("file_meta", {}):
                    assert c_store(pacs.dicom_port, [file], title="ORTHANC") == [0x0000]
                else:
                    stow(pacs.dicomweb_url, file)
            # It dies when it has stored some objects, be it between an SR and its PDF, and some time later.
            more = pacs.count() + random.randrange(4)
            wait_for(lambda more=more: pacs.count() >= more, "some reports", PATIENCE_SECONDS)
            time.sleep(random.uniform(0.0, 0.5))
            loop.process.send_signal(signal.SIGKILL)
            loop.process.wait()
            written += loop.written
    expected = reportable(server, pacs)
    assert {uid("study", number) for number in STUDIES} <= expected
    assert len(expected) > len(STUDIES)
    with looping(tmp_path, KILLS, **given) as loop:
        wait_for(lambda: len(pacs.objects("SR")) >= len(expected), "SRs", PATIENCE_SECONDS)
        wait_for(lambda: len(pacs.objects("DOC")) >= len(expected), "PDFs", PATIENCE_SECONDS)
        wait_for(lambda: loop.metrics().get("xray_report_pacs_waiting") == 0, "nothing waits", PATIENCE_SECONDS)
        exposed = str(loop.metrics())
        loop.process.terminate()
        assert loop.process.wait(60) == 0
        written += loop.written
    found = pacs.objects("SR", "DOC")
    assert Counter((study, modality) for study, modality, _ in found) == {
        (study, modality): 1 for study in expected for modality in ("SR", "DOC")
    }
    for study, modality, identity in found:
        (tmp_path / "object.dcm").write_bytes(pacs.file(identity))
        read = dcmread(tmp_path / "object.dcm")
        assert (read.StudyInstanceUID, read.Modality) == (study, modality)
        assert_valid(read, tmp_path / "object.dcm")
    with server.client() as client:
        exposed += client.get("/metrics").text
    leaked = {one for one in secrets([*made, *real]) if one in written + server.written + exposed}
    assert leaked == set()


def test_pacs_dies(service: tuple[Server, Orthanc], tmp_path: Path) -> None:
    """A PACS that is killed and comes back gets each report once, too."""
    server, _ = service
    folder = tmp_path / "mortal"
    with orthanc(folder) as pacs:
        ports = pacs.http_port, pacs.dicom_port
        for number in (101, 102, 103):
            stow(pacs.dicomweb_url, dicom(film(120, 100, seed=number), number=number))
        given = {"dicomweb_url": pacs.dicomweb_url, "pacs_service_url": f"http://127.0.0.1:{server.port}"}
        with looping(tmp_path, 0, **given) as loop:
            wait_for(lambda: pacs.objects("SR"), "the first SR", PATIENCE_SECONDS)
            pacs.process.send_signal(signal.SIGKILL)
            pacs.process.wait()
            loop.line("away", who="pacs")
            with orthanc(folder, *ports) as again:
                wait_for(lambda: len(again.objects("SR", "DOC")) >= 6, "all of them", PATIENCE_SECONDS)
                wait_for(lambda: loop.metrics().get("xray_report_pacs_waiting") == 0, "nothing waits", PATIENCE_SECONDS)
                assert Counter(study for study, _, _ in again.objects("SR", "DOC")) == {
                    uid("study", number): 2 for number in (101, 102, 103)
                }


def test_sent_to_us(service: tuple[Server, Orthanc], tmp_path: Path) -> None:
    """Without DICOMweb on their side: studies come by C-STORE, also while the loop dies, and go to a peer."""
    server, pacs = service
    files = [dicom(film(120, 100, seed=number), number=number) for number in (201, 202)]
    given = {
        "pacs_service_url": f"http://127.0.0.1:{server.port}",
        "pacs_peer": f"ORTHANC@127.0.0.1:{pacs.dicom_port}",
        "pacs_dicom_port": 0,
    }
    with looping(tmp_path, 0, **given) as loop:
        assert c_echo(loop.dicom_port) == 0x0000
        assert c_store(loop.dicom_port, files) == [0x0000, 0x0000]
        loop.process.send_signal(signal.SIGKILL)
        loop.process.wait()
    with looping(tmp_path, 1, **given) as loop:
        studies = [uid("study", number) for number in (201, 202)]

        def mine() -> list[tuple[str, str, str]]:
            return [one for one in pacs.objects("SR", "DOC") if one[0] in studies]

        wait_for(lambda: len(mine()) >= 4, "their reports", PATIENCE_SECONDS)
        wait_for(lambda: loop.metrics().get("xray_report_pacs_received_waiting") == 0, "none kept", PATIENCE_SECONDS)
        assert Counter(study for study, _, _ in mine()) == dict.fromkeys(studies, 2)
        loop.process.terminate()
        assert loop.process.wait(60) == 0


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    """Without anywhere to have studies from, or to send reports to, it ends with a line that says so."""
    with looping(tmp_path) as loop:
        assert loop.process.wait(120) == 1
        assert "XRAY_REPORT_DICOMWEB_URL" in loop.written
    with looping(tmp_path, 1, pacs_peer="A@127.0.0.1:104") as loop:
        assert loop.process.wait(120) == 1
        assert "XRAY_REPORT_PACS_DICOM_PORT" in loop.written
