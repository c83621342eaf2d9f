"""doctor names what would run, why, and what to change; its exit code says whether anything would."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from app.cli import main
from app.commands import machine, packages
from app.inference.generator import Generator
from app.inference.native.library import runnable
from tests.app.running_server import serving


def diagnosed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the checks by name."""
    code = main(["doctor", "--json", *arguments])
    said = json.loads(capsys.readouterr().out)
    assert said["runs"] == (code == 0)
    return code, {one["name"]: one for one in said["checks"]}


@pytest.fixture(autouse=True)
def _free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRAY_REPORT_PORT", "0")
    monkeypatch.setenv("XRAY_REPORT_DEVICE", "cpu")


def test_what_would_run(tiny_checkpoint: Path, tiny_sha256: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Processor with its instructions, threads, memory, device, precision and model, as the generator has them."""
    code, found = diagnosed(capsys, "--checkpoint", str(tiny_checkpoint))
    generator = Generator.load(tiny_checkpoint, device="cpu")
    generator.close()
    assert code == 0
    assert all(name in found["processor"]["why"] for name in ("AVX2", "AVX-512", "AMX"))
    assert found["precision"]["found"].startswith(generator.model.precision)
    assert "auto is exact" in found["precision"]["why"]
    assert f"threads of torch: {torch.get_num_threads()}" in found["device"]["found"]
    assert tiny_sha256 in found["model"]["found"]
    assert (found["decoder"]["found"], found["decoder"]["state"]) == (
        generator.decoder_name,
        "ok" if runnable() else "note",
    )
    assert found["memory"]["state"] in ("ok", "warning")
    assert {f"extra {name}" for name in packages.EXTRAS} <= found.keys()


def test_for_reading(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as text, every state in words."""
    assert main(["doctor", "--checkpoint", str(tiny_checkpoint)]) == 0
    printed = capsys.readouterr().out
    assert "The service would run here." in printed
    assert any(line.split()[:2] == ["ok", "model"] for line in printed.splitlines())
    assert "\x1b" not in printed


def test_wrong_checkpoint(tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that does not match its hash would not run, and nor would one that is not there."""
    copy = tmp_path / "copy.pt"
    copy.write_bytes(tiny_checkpoint.read_bytes() + b"\0")
    copy.with_suffix(".pt.sha256").write_text("0" * 64)
    code, found = diagnosed(capsys, "--checkpoint", str(copy))
    assert code == 1
    assert "SHA-256 does not match" in found["model"]["found"]
    code, found = diagnosed(capsys, "--checkpoint", str(tmp_path / "none.pt"))
    assert code == 1
    assert "cannot be read" in found["model"]["found"]


def test_settings(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A variable that is no setting is warned of; a value that cannot be is a failure, beside what the machine has."""
    monkeypatch.setenv("XRAY_REPORT_THREAD", "3")
    monkeypatch.setenv("XRAY_REPORT_HOST", "0.0.0.0")  # noqa: S104  # to be warned of
    monkeypatch.setenv("XRAY_REPORT_THREADS", "400")
    code, found = diagnosed(capsys, "--checkpoint", str(tiny_checkpoint))
    assert code == 0
    assert found["settings"]["found"] == "XRAY_REPORT_THREAD is no setting"
    assert found["keys"]["state"] == found["threads"]["state"] == "warning"
    assert found["threads"]["change"] == f"XRAY_REPORT_THREADS={max(1, machine.usable_cores() - 1)}"
    monkeypatch.delenv("XRAY_REPORT_THREAD")
    monkeypatch.setenv("XRAY_REPORT_THREADS", "many")
    code, found = diagnosed(capsys)
    assert code == 1
    assert found["settings"]["state"] == "failure"
    assert found["settings"]["found"].startswith("XRAY_REPORT_THREADS: ")
    assert "processor" in found


def test_port(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One that something else has is a failure; one where our own service answers is not."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("XRAY_REPORT_PORT", str(other.getsockname()[1]))
        code, found = diagnosed(capsys, "--checkpoint", str(tiny_checkpoint))
        assert (code, found["port"]["state"]) == (1, "failure")
    with serving(tiny_checkpoint) as server:
        monkeypatch.setenv("XRAY_REPORT_PORT", str(server.port))
        code, found = diagnosed(capsys, "--checkpoint", str(tiny_checkpoint))
        assert (code, found["port"]["state"]) == (0, "note")


def test_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quotas of a container count, as cgroups of either version have them."""
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert machine.usable_cores() == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.usable_cores() >= 1
    whole = machine.memory()
    assert whole.limit is None
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**29}\n")
    limited = machine.memory()
    assert limited.limit == 2**30
    assert limited.available <= 2**29


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra is missing where one of its packages is; one that the installation does not know is not guessed at."""
    lines = ["numpy>=2", 'no-such-thing>=1; extra == "hospital"', "pip; extra == 'tracing'"]
    monkeypatch.setattr(packages, "requires", lambda name: lines)
    assert packages.missing("hospital") == ["no-such-thing"]
    assert packages.missing("openvino") is None
