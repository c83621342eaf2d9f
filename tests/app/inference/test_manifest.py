"""What a checkpoint says of itself, typed: schema 3 in, the same schema 3 out."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from app.inference.errors import CheckpointError
from app.inference.manifest import Manifest
from app.inference.options import OPERATING_POINTS
from tests.conftest import ROOT


def content(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("manifest.json"))
        return archive.read(name)


@pytest.mark.parametrize(
    "path", [*(ROOT / "weights").glob("*.pt"), *(ROOT / "tests" / "phantom").glob("*.pt")], ids=lambda path: path.name
)
def test_a_shipped_manifest_is_written_as_it_was_read(path: Path) -> None:
    """Byte for byte: keys, order, numbers."""
    written = content(path)
    assert Manifest.from_json(written).to_json() == written


def test_what_a_checkpoint_lacks_is_not_invented(tiny_checkpoint: Path) -> None:
    """Without a part for the whole, for abstaining, for out-of-distribution detection, and without denials."""
    given = json.loads(content(tiny_checkpoint))
    for key in ("abnormal", "abstain", "intake"):
        del given[key]
    for finding in given["findings"]:
        del finding["denied_below"]
    manifest = Manifest.from_json(json.dumps(given))
    assert (manifest.abnormal, manifest.abstain, manifest.ood) == (None, None, None)
    assert {finding.denied_below for finding in manifest.findings} == {None}


def test_an_older_checkpoint_is_told_its_version(tiny_checkpoint: Path) -> None:
    """Not the first key that its schema does not have."""
    given = json.loads(content(tiny_checkpoint)) | {"schema_version": 2}
    del given["views_read"]
    with pytest.raises(CheckpointError, match="schema_version 2, this program reads 3"):
        Manifest.from_json(json.dumps(given))


@pytest.mark.parametrize("broken", [None, 1, {}, {"name": "a", "temperature": 1.0}, {"thresholds": {"balanced": {}}}])
def test_a_finding_that_cannot_be_decided_on_is_refused(tiny_checkpoint: Path, broken: object) -> None:
    """By a checkpoint error that says what is missing, before anything is served."""
    given = json.loads(content(tiny_checkpoint))
    given["findings"][0] = broken
    with pytest.raises(CheckpointError, match="thresholds for balanced"):
        Manifest.from_json(json.dumps(given))


def test_a_checkpoint_says_what_it_was_exported_with(tiny_checkpoint: Path) -> None:
    """Names are as typed as numbers."""
    manifest = Manifest.from_json(content(tiny_checkpoint))
    assert (manifest.name, manifest.image_size, manifest.max_views) == ("tiny", 64, 4)
    assert manifest.section_names == ("findings", "impression")
    assert [set(finding.thresholds) for finding in manifest.findings] == [set(OPERATING_POINTS)] * 3
    assert {one.probability for finding in manifest.findings for one in finding.thresholds.values()} == {0.5}
    assert manifest.views_read == ("frontal", "lateral")
