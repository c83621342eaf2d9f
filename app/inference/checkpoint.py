"""The checkpoint: one TorchScript archive with its manifest and tokenizer inside. Saved, verified and loaded here only.

TorchScript is deprecated since torch 2.13, so every jit call of the project stands in this file, and exactly its
deprecation warnings are silenced.
"""

from __future__ import annotations

import copy
import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.inference.errors import CheckpointError
from app.inference.files import write_atomically
from app.inference.manifest import MANIFEST, Manifest
from app.inference.self_test import compare_self_test, measure_self_test, run_self_test
from app.text.tokenizer import Tokenizer, TokenizerError

MAX_ARCHIVE_BYTES = 2**31
TOKENIZER = "tokenizer.json"

_MEMBER = re.compile(
    r"(version|byteorder|data\.pkl|constants\.pkl|\.data/(serialization_id|version)|\.format_version|\.storage_alignment"
    r"|(data|constants)/\d+|code/[\w./]+\.py(\.debug_pkl)?|extra/(manifest|tokenizer)\.json)"
)
_METHODS = ("preprocess", "region", "square", "encode", "join", "begin", "allocate", "decode_step", "attention")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified checkpoint: the scripted network, what it says of itself, its tokenizer, and the archive's SHA-256."""

    module: torch.jit.ScriptModule
    manifest: Manifest
    tokenizer: Tokenizer
    sha256: str


@contextmanager
def _quiet_jit() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.* is deprecated", category=DeprecationWarning)
        yield


def script(model: nn.Module) -> torch.jit.ScriptModule:
    """The model compiled to TorchScript, in evaluation mode, without gradients."""
    model.eval().requires_grad_(False)
    with _quiet_jit():
        scripted = torch.jit.script(model)
    assert isinstance(scripted, torch.jit.ScriptModule)  # noqa: S101 (narrows the type)
    return scripted


class _Encode(nn.Module):
    """The method `encode` as a module of its own, which is what can be frozen."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module: Any = module

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        output: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor] = self.module.encode(views)
        return output


def frozen_encode(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """A copy of the archive's `encode` with its weights as constants, batch norms folded in, channels last.

    It returns the fields of `EncoderOutput` as a plain tuple.
    """
    copied: Any = copy.deepcopy(module)
    whole = _Encode(copied.to(memory_format=torch.channels_last)).eval()
    with _quiet_jit():
        frozen: torch.jit.ScriptModule = torch.jit.freeze(script(whole))
    return frozen


def disable_fusers() -> None:
    """For the whole process. On a GPU TorchScript would compile kernels at the first calls of every new shape."""
    torch._C._jit_set_texpr_fuser_enabled(False)


def save_checkpoint(module: torch.jit.ScriptModule, manifest: Manifest, tokenizer: Tokenizer, path: Path) -> str:
    """Writes the archive and `<path>.sha256`, each whole or not at all. Returns the SHA-256.

    The self-test is measured on `module` and put into the manifest; the archive is loaded back and verified before
    it takes its place. Raises `CheckpointError` when it would not load.
    """
    manifest = replace(manifest, self_test=measure_self_test(module))
    extra = {MANIFEST: manifest.to_json(), TOKENIZER: tokenizer.to_json()}
    buffer = io.BytesIO()
    with _quiet_jit():
        torch.jit.save(module, buffer, _extra_files=extra)
    data = buffer.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    _load_bytes(data, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    write_atomically(sha256_path(path), f"{sha256}  {path.name}\n".encode())
    return sha256


def sha256_path(path: Path) -> Path:
    """Where the pinned SHA-256 of a checkpoint stands: beside it, in the format of `sha256sum`."""
    return path.with_name(path.name + ".sha256")


def load_checkpoint(path: Path, sha256: str | None = None) -> Checkpoint:
    """Reads the archive once, compares its SHA-256 before torch sees it, verifies and self-tests it.

    The pinned hash is `sha256`, else the file beside the checkpoint. An archive can execute code when loaded, so there
    is no loading without a pin. Raises `CheckpointError`.
    """
    try:
        if path.stat().st_size > MAX_ARCHIVE_BYTES:
            raise CheckpointError(f"{path}: larger than {MAX_ARCHIVE_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if sha256 is None:
        try:
            sha256 = sha256_path(path).read_text().split()[0]
        except (OSError, IndexError, UnicodeDecodeError) as error:
            raise CheckpointError(
                f"{path}: no SHA-256 given, and none in {sha256_path(path).name} beside it"
            ) from error
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256.lower():
        raise CheckpointError(f"{path}: SHA-256 does not match: expected {sha256.lower()}, found {actual}")
    try:
        return _load_bytes(data, actual)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _load_bytes(data: bytes, sha256: str) -> Checkpoint:
    _check_members(data)
    extra = {MANIFEST: "", TOKENIZER: ""}
    try:
        with _quiet_jit():
            module = torch.jit.load(io.BytesIO(data), map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    except (RuntimeError, ValueError) as error:
        raise CheckpointError("torch cannot load the archive") from error
    manifest = Manifest.from_json(extra[MANIFEST])
    try:
        tokenizer = Tokenizer.from_json(_as_bytes(extra[TOKENIZER]))
    except TokenizerError as error:
        raise CheckpointError(str(error)) from error
    _check_consistent(module, manifest, tokenizer)
    return Checkpoint(module.eval(), manifest, tokenizer, sha256)


def _as_bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _check_members(data: bytes) -> None:
    """Only what our own export writes, nothing compressed to a bomb, nothing missing: a missing extra reads as b''."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
    except zipfile.BadZipFile as error:
        raise CheckpointError("not a TorchScript archive") from error
    names = []
    for info in infos:
        name = info.filename.partition("/")[2]
        if not _MEMBER.fullmatch(name) or ".." in name:
            raise CheckpointError(f"foreign member in the archive: {info.filename!r}")
        names.append(name)
    if len(set(names)) != len(names):
        raise CheckpointError("the archive names a member twice")
    if sum(info.file_size for info in infos) > MAX_ARCHIVE_BYTES:
        raise CheckpointError(f"the archive unpacks to more than {MAX_ARCHIVE_BYTES} bytes")
    for required in (MANIFEST, TOKENIZER):
        if f"extra/{required}" not in names:
            raise CheckpointError(f"{required} is missing from the archive")


def _check_consistent(module: torch.jit.ScriptModule, manifest: Manifest, tokenizer: Tokenizer) -> None:
    if lacking := [name for name in _METHODS if not hasattr(module, name)]:
        raise CheckpointError(f"the archive lacks {', '.join(lacking)}")
    if len(tokenizer) != manifest.vocabulary_size:
        raise CheckpointError(
            f"vocabulary size: {len(tokenizer)} in {TOKENIZER}, {manifest.vocabulary_size} in {MANIFEST}"
        )
    if tokenizer.section_names != manifest.section_names:
        raise CheckpointError(f"section names differ between {TOKENIZER} and {MANIFEST}")
    try:
        measured = run_self_test(module, torch.device("cpu"))
    except (RuntimeError, AttributeError) as error:
        raise CheckpointError("self-test: the network does not run by the contract") from error
    if len(measured["token_logits"]) != len(tokenizer):
        raise CheckpointError(
            f"vocabulary size: the network has {len(measured['token_logits'])}, {TOKENIZER} {len(tokenizer)}"
        )
    findings = len(measured["finding_logits"]) - 1  # the last is of the whole
    if findings != len(manifest.findings):
        raise CheckpointError(f"findings: the network has {findings}, {MANIFEST} {len(manifest.findings)}")
    compare_self_test(measured, manifest.self_test, tolerance=1e-3)
