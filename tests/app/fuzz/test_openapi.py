"""Schemathesis against the real server: whatever the document allows or forbids is answered as documented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.server import Server
from tests.conftest import ROOT

HERE = Path(__file__).parent


def test_schemathesis(server: Server, tmp_path: Path, long: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """All checks hold: no 5xx, no undocumented status, and every error is a problem document."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")),
        *("run", f"http://127.0.0.1:{server.port}/openapi.json", "--checks", "all", "--continue-on-failure"),
        *("--max-examples", "5000" if long else "20", "--phases", "coverage,fuzzing", "--seed", "1"),
        *("--report", "json", "--report-json-path", str(tmp_path / "report.json"), "--warnings", "off", "--no-color"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.app.fuzz.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)  # noqa: S603  # ours
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    cases = json.loads((tmp_path / "report.json").read_text())["test_cases"]
    assert cases["generated"] >= (5000 if long else 200)
    assert cases["without_checks"] == cases["errored"] == 0
    if long:
        with capsys.disabled():
            print(f"\n{cases['generated']} requests generated from the OpenAPI document, all checks hold")
