"""`xray-report bulk` from outside: the real program, the real server, and whoever ends either when."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli import main
from benchmarks.server import free_port, started
from tests.app.dicom_phantoms import dicom, uid
from tests.app.pictures import phantom, png
from tests.app.running_server import serving

SLOW = {"num_beams": "4", "min_new_tokens": "40", "max_new_tokens": "40"}
PATIENCE_SECONDS = 120.0


@pytest.fixture
def folder(tmp_path: Path, long: bool) -> Path:
    """Phantom images, no two alike, and one that is damaged."""
    folder = tmp_path / "images"
    for number in range(2000 if long else 160):
        below = folder / f"{number % 10}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{number:04}.png").write_bytes(png(phantom(60 + number % 40, 60 + number // 40, number)))
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nshort")
    return folder


class Bulk:
    """A run in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, log: Path) -> None:
        self.process, self.out, self.log = process, out, log

    @property
    def lines(self) -> int:
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits while it runs."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.005)

    def ends(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_SECONDS * 5)


def command(folder: Path, out: Path, port: int, **options: str) -> list[str]:
    flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    server = ["--server", f"http://127.0.0.1:{port}"]
    return [sys.executable, "-m", "app.cli", "bulk", str(folder), "--out", str(out), *server, *flags]


def entries(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_nothing_is_lost_or_repeated(tiny_checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    """Interrupted by SIGINT, killed with a line torn, and with the server killed under it: every study has one line,
    which is of its own image."""
    files = sorted(folder.rglob("*.png"))
    out, log, port = tmp_path / "results.jsonl", tmp_path / "bulk.log", free_port()
    words = command(folder, out, port, in_flight="4", **SLOW)
    with serving(tiny_checkpoint, port=port) as server:
        with started(words, log, {}) as process:
            run = Bulk(process, out, log)
            run.until(lambda: run.lines >= len(files) // 5)
            process.send_signal(signal.SIGINT)
            assert run.ends() == 130
            after_interrupt = run.lines
            assert "the same command goes on from here" in log.read_text()
        with started(words, log, {}) as process:
            run = Bulk(process, out, log)
            run.until(lambda: run.lines >= after_interrupt + len(files) // 5)
            process.kill()
            run.ends()
        with out.open("ab") as torn:
            torn.write(b'{"study":"0/')
        with started(words, log, {}) as process:
            run = Bulk(process, out, log)
            run.until(lambda: run.lines >= after_interrupt + len(files) * 2 // 5)
            server.process.kill()
            server.process.wait()
            run.until(lambda: "waiting for the service: unreachable" in log.read_text())
            before_restart = run.lines
            with serving(tiny_checkpoint, port=port):
                assert run.ends() == 3, log.read_text()
    written = entries(out)
    assert after_interrupt < before_restart < len(files) == len(written)
    assert sorted(one["study"] for one in written) == sorted(file.relative_to(folder).as_posix() for file in files)
    for one in written:
        if one["study"] == "damaged.png":
            assert one["problem"]["type"] == "corrupt-image"
        else:
            (image,) = one["answer"]["images"]
            assert image["sha256"] == hashlib.sha256((folder / one["study"]).read_bytes()).hexdigest()


def test_without_a_server(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model runs here, and says the same as a service; DICOM studies go by their UID."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "x.png").write_bytes(png(phantom()))
    for instance, view in ((1, "LL"), (2, "PA")):
        file = dicom(np.asarray(phantom(shift=instance)), number=1, instance=instance, ViewPosition=view)
        (folder / f"{instance}.dcm").write_bytes(file)
    words = ["bulk", str(folder), "--checkpoint", str(tiny_checkpoint), "--num-beams", "2"]
    assert main([*words, "--out", str(tmp_path / "r.jsonl")]) == 0
    assert "Studies: 2." in capsys.readouterr().out
    by_study = {one["study"]: one for one in entries(tmp_path / "r.jsonl")}
    assert by_study.keys() == {"x.png", uid("study", 1)}
    assert by_study[uid("study", 1)]["files"] == ["2.dcm", "1.dcm"]
    assert main(["predict", str(folder / "x.png"), "--checkpoint", words[3], "--num-beams", "2", "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    assert predicted["report"]["sections"] == by_study["x.png"]["answer"]["report"]["sections"]
    assert main([*words, "--out", str(tmp_path / "r.csv")]) == 0
    rows = {row["study"]: row for row in csv.DictReader((tmp_path / "r.csv").read_text().splitlines())}
    assert rows["x.png"]["findings"] == " ".join(predicted["report"]["sections"]["findings"].split())


def test_key(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A service that asks for a key gets the one in the file; without, the line says how to give it."""
    (tmp_path / "x.png").write_bytes(png(phantom()))
    (tmp_path / "key").write_text("sesame\n")
    hashed = hashlib.sha256(b"sesame").hexdigest()
    with serving(tiny_checkpoint, api_key_hashes=hashed) as server:
        words = [
            "bulk",
            str(tmp_path),
            "--out",
            str(tmp_path / "r.jsonl"),
            "--server",
            f"http://127.0.0.1:{server.port}",
        ]
        assert main(words) == 1
        assert "--api-key-file" in capsys.readouterr().err
        assert main([*words, "--api-key-file", str(tmp_path / "key")]) == 0
    assert len(entries(tmp_path / "r.jsonl")) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "r.txt"], "--out r.txt: results are written as .jsonl or .csv"),
        (["--out", "r.csv", "--server", "localhost:8000"], "--server must be an address"),
        (["--out", "r.csv", "--server", "http://127.0.0.1:9", "--patience", "0"], "does not answer: unreachable"),
        (["--out", "r.csv", "--server", "http://127.0.0.1:9", "--api-key-file", "none"], "none: No such file"),
        (["--out", "r.csv", "--num-beams", "9"], "num_beams must be from 1 to 8"),
        (["--out", "nowhere/r.csv"], "nowhere/r.csv: No such file"),
    ],
)
def test_refusals(
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    """What cannot be is one line, before any work."""
    monkeypatch.chdir(tmp_path)
    assert main(["bulk", ".", "--checkpoint", str(tiny_checkpoint), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
