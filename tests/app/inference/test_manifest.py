"""What a checkpoint says of itself, typed: schema 2 in, the same schema 2 out."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from app.inference.manifest import Manifest
from tests.conftest import ROOT


def content(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("manifest.json"))
        return archive.read(name)


@pytest.mark.parametrize("path", sorted((ROOT / "weights").glob("*.pt")), ids=lambda path: path.name)
def test_a_shipped_manifest_is_written_as_it_was_read(path: Path) -> None:
    """Byte for byte: keys, order, numbers."""
    written = content(path)
    assert Manifest.from_json(written).to_json() == written


def test_what_older_checkpoints_lack_is_not_invented() -> None:
    """A schema 2 from before denials, abstaining and out-of-distribution detection reads, and nothing is made up."""
    old = content(ROOT / "tests" / "phantom" / "xray-report-phantom.pt")
    manifest = Manifest.from_json(old)
    assert (manifest.abstain, manifest.ood, manifest.findings[0].denied_below) == (None, None, None)
    expected = {**json.loads(old), "abstain": None, "intake": None}
    del expected["uncertain_below"]  # which nobody reads any more
    assert json.loads(manifest.to_json()) == expected


def test_a_checkpoint_says_what_it_was_exported_with(tiny_checkpoint: Path) -> None:
    """Names are as typed as numbers."""
    manifest = Manifest.from_json(content(tiny_checkpoint))
    assert (manifest.name, manifest.image_size, manifest.max_views) == ("tiny", 64, 4)
    assert manifest.section_names == ("findings", "impression")
    assert [finding.threshold for finding in manifest.findings] == [0.5] * 3
