"""The command line: predict answers as the API does, and what cannot work is one line and exit code 1."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from app.api import answers
from app.cli import main
from app.inference.options import RANGES
from app.report import DISCLAIMER
from app.settings import load_settings
from tests.app.dicom_phantoms import dicom
from tests.app.pictures import phantom
from tests.conftest import ROOT

pytestmark = pytest.mark.anyio

COMMANDS = ["serve", "predict", "bulk", "model", "doctor", "pacs"]
SAMPLE = ROOT / "weights" / "samples" / "normal.jpg"


@pytest.fixture
def image_path(tmp_path: Path, picture: bytes) -> Path:
    path = tmp_path / "x.png"
    path.write_bytes(picture)
    return path


def rounded(text: str) -> dict[str, Any]:
    """An answer with its numbers to four decimals."""
    answer: dict[str, Any] = json.loads(text, parse_float=lambda number: round(float(number), 4))
    return answer


async def test_predict(
    client: httpx.AsyncClient,
    tiny_checkpoint: Path,
    image_path: Path,
    picture: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """predict prints what the API answers, but for ids, times, and the rounding of sums."""
    options = {"num_beams": "2", "include": "alternatives", "operating_point": "specific"}
    flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert main(["predict", "--json", "--checkpoint", str(tiny_checkpoint), str(image_path), *flags]) == 0
    printed = rounded(capsys.readouterr().out)
    answered = rounded((await client.post("/v1/report", params=options, files={"image": picture})).text)
    for answer in (printed, answered):
        for name in ("id", "created", "timing"):
            answer.pop(name)
    assert printed == answered


def test_predict_as_text(tiny_checkpoint: Path, image_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """predict prints the report for reading: its sections, each finding decided on in words, the disclaimer."""
    command = ["predict", "--checkpoint", str(tiny_checkpoint), str(image_path)]
    assert main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert main([*command, "--include", "alternatives"]) == 0
    printed = capsys.readouterr().out
    words = " ".join(printed.split())
    assert "\x1b" not in printed, "no colour where nobody looks"
    assert words.startswith("FINDINGS " + " ".join(answer["report"]["sections"]["findings"].split()))
    for finding in answer["findings"]:
        decided = "present" if finding["present"] else "absent"
        assert f"{finding['name']} {decided} {finding['probability']:.1%} {finding['threshold']:.1%}" in words
    assert "Alternative 2, score" in words
    assert printed.strip().endswith(DISCLAIMER)


def test_predict_for_hospitals(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--fhir and --pdf carry over whose study it is; where their packages are missing, the line says which extra."""
    file, page = tmp_path / "x.dcm", tmp_path / "page.pdf"
    file.write_bytes(dicom(np.asarray(phantom())))
    command = ["predict", "--checkpoint", str(tiny_checkpoint), str(file)]
    assert main([*command, "--fhir", "--pdf", str(page)]) == 0
    report = json.loads(capsys.readouterr().out)
    patient = next(one for one in report["contained"] if one["resourceType"] == "Patient")
    assert patient["name"][0]["family"] == "PHANTOM"
    assert page.read_bytes().startswith(b"%PDF-")
    assert main([*command, "--fhir", "--json"]) == 1
    assert "choose one" in capsys.readouterr().err
    monkeypatch.setattr(answers, "_installed", lambda: answers.PLAIN)
    assert main([*command, "--pdf", str(tmp_path / "none.pdf")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs the extra `hospital`" in line
    assert not (tmp_path / "none.pdf").exists()


def test_predict_takes_its_threads_from_the_settings(
    tiny_checkpoint: Path, image_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XRAY_REPORT_THREADS counts for `predict` as it does for `serve`."""
    monkeypatch.setenv("XRAY_REPORT_THREADS", "1")
    torch.set_num_threads(2)
    assert main(["predict", "--checkpoint", str(tiny_checkpoint), str(image_path)]) == 0
    assert torch.get_num_threads() == 1


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists every command; an unknown one, and an unknown option, are an error of usage."""
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == COMMANDS
    assert main(["report"]) == main(["predict", "x.png", "--beams", "3"]) == 2


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_is_there_at_once(command: list[str]) -> None:
    """Nothing that is slow to import is imported for it."""
    slow = ("torch", "fastapi", "app.settings", "numpy", "httpx", "rich", "PIL")
    code = (
        "import sys; from app.cli import main; main([*sys.argv[1:], '--help']);"
        f"print('slow:', [name for name in {slow} if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603  # our own
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "slow: []"


def test_help_states_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    """`predict --help` says of every option what it may be."""
    assert main(["predict", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for name, one in RANGES.items():
        assert f"--{name.replace('_', '-')} VALUE {one.meaning} {one}" in said
    for values in ("true, false, never", "alternatives, sentences, tokens, heatmaps", "balanced, sensitive, specific"):
        assert values in said
    assert main(["serve", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "0 to 65535" in said
    assert f"else {load_settings(checkpoint='x').port}" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--num-beams", "9"], "num_beams must be from 1 to 8"),
        (["--no-repeat-ngram-size", str(2**64)], "no_repeat_ngram_size must be at most 40"),
        (["--num-beams", "1_0"], "num_beams must be a whole number"),
        (["--length-penalty", "nan"], "length_penalty must be a number"),
        (["--sections", "history"], "sections takes"),
        (["--operating-point", "best"], "operating_point takes balanced, sensitive, specific"),
        (["missing.png"], "No such file"),
        ([__file__], "not PNG, JPEG or DICOM"),
    ],
)
def test_predict_refuses(
    tiny_checkpoint: Path, image_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """A bad option or image is one line."""
    assert main(["predict", "--checkpoint", str(tiny_checkpoint), str(image_path), *arguments]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert said in errors[0]


@pytest.fixture
def wrong_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy with a byte too many and its old hash beside it."""
    copy = tmp_path / "copy.pt"
    copy.write_bytes(tiny_checkpoint.read_bytes() + b"\0")
    copy.with_suffix(".pt.sha256").write_text(f"{'0' * 64}  copy.pt\n")
    return copy


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["predict", str(SAMPLE)]])
def test_wrong_checkpoint(
    wrong_checkpoint: Path,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A checkpoint that does not match stops either command with one line saying what did not, and exit code 1."""
    monkeypatch.setattr("app.server.serve.configure_logging", lambda level: None)
    assert main([*command, "--checkpoint", str(wrong_checkpoint)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "SHA-256 does not match: expected 000" in line


def test_no_decode_worker(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine that cannot start decode workers is one line and exit code 1, too."""
    monkeypatch.setattr("app.server.serve.configure_logging", lambda level: None)
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert main(["serve", "--port", "0", "--checkpoint", str(tiny_checkpoint)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("xray-report: no decode worker can be started")


def test_bad_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that cannot be is one line naming the variable."""
    monkeypatch.setenv("XRAY_REPORT_MAX_QUEUE", "none")
    assert main(["serve", "--checkpoint", "x.pt"]) == 1
    assert capsys.readouterr().err.startswith("xray-report: XRAY_REPORT_MAX_QUEUE: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [("threads", "100000"), ("request_deadline_seconds", "1e11"), ("drain_seconds", "inf"), ("host", ""),
     ("decode_workers", "10000"), ("port", "70000"), ("max_rows", "1000000000"), ("hang_seconds", "nan")],
)  # fmt: skip
@pytest.mark.parametrize("command", [["serve"], ["predict", "x.png"]])
def test_hostile_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str], name: str, value: str
) -> None:
    """A setting outside its range ends the start in one line naming it, and exit code 1."""
    monkeypatch.setenv(f"XRAY_REPORT_{name.upper()}", value)
    assert main([*command, "--checkpoint", "x.pt"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"xray-report: XRAY_REPORT_{name.upper()}: ")


@pytest.mark.parametrize(("flag", "value"), [("--host", ""), ("--port", "70000"), ("--port", "9" * 5000)])
def test_hostile_argument(capsys: pytest.CaptureFixture[str], flag: str, value: str) -> None:
    """The same for what the command line sets."""
    assert main(["serve", flag, value, "--checkpoint", "x.pt"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"xray-report: XRAY_REPORT_{flag[2:].upper()}: ")


def test_port_is_taken(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is taken is told before the model loads."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--checkpoint", str(tiny_checkpoint), "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


@pytest.mark.parametrize("data", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\nshort"])
def test_predict_names_the_file_that_cannot_be_read(
    data: bytes | None, tiny_checkpoint: Path, image_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of several views the one that is damaged, empty, another thing, or not there."""
    broken = image_path.with_name("second view.png")
    if data is not None:
        broken.write_bytes(data)
    assert main(["predict", "--checkpoint", str(tiny_checkpoint), str(image_path), str(broken)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "second view.png: " in line
    assert image_path.name not in line


def test_predict_refuses_a_folder(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As what it is, in one line."""
    assert main(["predict", "--checkpoint", str(tiny_checkpoint), "."]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
