"""The extras of this installation: what each brings, and what of it is missing."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version

OURS = "xray-report"
# Of the service, with what lacks without each; the others are for training and development.
EXTRAS = {
    "hospital": "answers as FHIR, PDF and DICOM, and xray-report pacs",
    "openvino": "faster encoding of images on a CPU",
    "tracing": "OpenTelemetry traces",
    "ray": "replicas on Ray Serve, and xray-report bulk --ray",
}
_REQUIREMENT = re.compile(r"""([A-Za-z0-9._-]+).*;.*extra == ['"]([a-z]+)['"]""")


def missing(extra: str) -> list[str] | None:
    """The packages of an extra that are not installed; None where our own installation does not know the extra."""
    packages = [name for name, of in _requirements() if of == extra]
    return [name for name in packages if not installed(name)] if packages else None


def installed(name: str) -> str | None:
    """The version of a package; None without it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _requirements() -> list[tuple[str, str]]:
    try:
        found = map(_REQUIREMENT.match, requires(OURS) or ())
    except PackageNotFoundError:
        return []
    return [(one[1], one[2]) for one in found if one]
