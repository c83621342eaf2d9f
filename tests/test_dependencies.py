"""Dependencies with known holes are required in versions that close them, and so pinned."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT

# The lowest versions without known holes: request smuggling by chunked bodies (h11), denial of service by multipart
# bodies (python-multipart, starlette), memory errors in decoders (pillow), paths that lead out of a set of files
# (pydicom, CVE-2026-32711), code execution while loading (torch).
FLOORS = {
    "h11": "0.16",
    "pillow": "12.3",
    "pydicom": "3.0.2",
    "python-multipart": "0.0.31",
    "starlette": "1.3.1",
    "torch": "2.10",
}


def required() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {requirement.name: requirement for requirement in map(Requirement, project["dependencies"])}


def pinned() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = (Requirement(line) for line in lines if line)
    return {pin.name: Version(str(pin.specifier).removeprefix("==")) for pin in pins}


@pytest.mark.parametrize("name", FLOORS)
def test_floor(name: str) -> None:
    """Neither the requirement nor the pin allows an older version, whatever the frameworks above it would take."""
    (lowest,) = (clause.version for clause in required()[name].specifier if clause.operator == ">=")
    assert Version(lowest) >= Version(FLOORS[name])
    assert pinned()[name] >= Version(FLOORS[name])


def test_every_requirement_is_pinned() -> None:
    """What the service runs on is the same at every installation."""
    assert required().keys() <= pinned().keys()
