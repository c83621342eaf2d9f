"""Saving and loading the archive: nothing that was tampered with, or does not fit together, is ever served."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.inference import checkpoint as checkpoint_module
from app.inference.checkpoint import load_checkpoint, save_checkpoint, script, sha256_path
from app.inference.errors import CheckpointError
from app.text.tokenizer import Tokenizer
from model_training.model.report_model import ReportModel


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to spoil."""
    path = tmp_path / "copy.pt"
    shutil.copy(tiny_checkpoint, path)
    shutil.copy(sha256_path(tiny_checkpoint), sha256_path(path))
    return path


def rewrite(path: Path, change: Callable[[str, bytes], bytes | None], extra: dict[str, bytes] | None = None) -> str:
    """Rewrites the archive's members and returns the new SHA-256, as somebody with a pinned hash of it would have."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (members | (extra or {})).items():
            changed = change(name, data)
            if changed is not None:
                archive.writestr(name, changed)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def with_manifest(path: Path, **values: Any) -> str:
    def change(name: str, data: bytes) -> bytes:
        return json.dumps(json.loads(data) | values).encode() if name.endswith("manifest.json") else data

    return rewrite(path, change)


def test_a_checkpoint_loads_with_the_hash_beside_it(tiny_checkpoint: Path, tiny_tokenizer: Tokenizer) -> None:
    """The plain case: manifest, tokenizer and hash come back as written."""
    checkpoint = load_checkpoint(tiny_checkpoint)
    assert checkpoint.manifest.name == "tiny"
    assert checkpoint.tokenizer.tokens == tiny_tokenizer.tokens
    assert checkpoint.sha256 == hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()


def test_one_changed_byte_is_refused_before_torch_sees_it(copy: Path) -> None:
    """A flipped byte anywhere fails the hash."""
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    with pytest.raises(CheckpointError, match="SHA-256 does not match"):
        load_checkpoint(copy)


def test_no_loading_without_a_pinned_hash(copy: Path) -> None:
    """An archive can execute code: without a hash it is not touched."""
    sha256_path(copy).unlink()
    with pytest.raises(CheckpointError, match="no SHA-256"):
        load_checkpoint(copy)


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json"])
def test_a_missing_entry_is_an_error_by_name(copy: Path, name: str) -> None:
    """torch reads a missing extra file as empty; we do not."""
    sha256 = rewrite(copy, lambda member, data: None if member.endswith(name) else data)
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load_checkpoint(copy, sha256)


@pytest.mark.parametrize("member", ["archive/extra/run.sh", "evil.py", "archive/../../x", "archive/code/a.so"])
def test_a_foreign_member_is_an_error_by_name(copy: Path, member: str) -> None:
    """Only what our export writes may be inside."""
    sha256 = rewrite(copy, lambda _, data: data, {member: b"x"})
    with pytest.raises(CheckpointError, match="foreign member") as caught:
        load_checkpoint(copy, sha256)
    assert member in str(caught.value)


def test_a_file_that_is_no_archive_is_an_error(copy: Path) -> None:
    """Garbage with a right hash is still refused, by what it is."""
    copy.write_bytes(b"not a zip")
    with pytest.raises(CheckpointError, match="not a TorchScript archive"):
        load_checkpoint(copy, hashlib.sha256(b"not a zip").hexdigest())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocabulary_size": 5}, "vocabulary size"),
        ({"schema_version": 99}, "schema_version 99"),
        ({"findings": []}, "findings: the network has 3"),
        ({"findings": [{"name": "a"}] * 3}, "a finding is not made of"),
        ({"section_names": ["impression"]}, "section names differ"),
        ({"default_options": {"num_beams": 99}}, "default_options: num_beams"),
        ({"name": 7}, "name is missing or of the wrong type"),
        ({"self_test": {}}, "self-test"),
        ({"abstain": {"rule": "expected-f1", "below": 0.1}}, "abstain is not made of"),
        ({"intake": {"thresholds": {"chest": 0.0}}}, "intake lacks the thresholds"),
        ({"findings": [7, 7, 7]}, "a finding is not made of"),
        ({"abstain": {"rule": "by hunch", "balance": 0.5, "below": 0.1}}, "abstain: this program knows"),
    ],
)
def test_a_manifest_that_does_not_fit_is_an_error_that_says_what(
    copy: Path, values: dict[str, Any], message: str
) -> None:
    """Every disagreement between manifest, tokenizer and network stops the load."""
    sha256 = with_manifest(copy, **values)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(copy, sha256)


def test_an_archive_without_a_method_of_the_contract_is_refused(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is loaded, not when somebody first asks for what it cannot do."""
    monkeypatch.setattr(checkpoint_module, "_METHODS", ("encode", "sing"))
    with pytest.raises(CheckpointError, match="lacks sing"):
        load_checkpoint(tiny_checkpoint)


def test_other_weights_fail_the_self_test(copy: Path) -> None:
    """Swapped weights under an honest-looking manifest are noticed by what they compute."""

    def negate_largest(name: str, data: bytes) -> bytes:
        return bytes(b ^ 0x80 if i % 4 == 3 else b for i, b in enumerate(data)) if "/data/" in name else data

    sha256 = rewrite(copy, negate_largest)
    with pytest.raises(CheckpointError, match="self-test"):
        load_checkpoint(copy, sha256)


def test_saving_refuses_a_tokenizer_of_another_size(
    tiny_model: ReportModel, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Export leaves nothing behind that would not load."""
    manifest = load_checkpoint(tiny_checkpoint).manifest
    other = Tokenizer.build([{"findings": "one two"}], manifest.section_names)
    with pytest.raises(CheckpointError, match="vocabulary size"):
        save_checkpoint(script(tiny_model), manifest, other, tmp_path / "bad.pt")
    assert list(tmp_path.iterdir()) == []
