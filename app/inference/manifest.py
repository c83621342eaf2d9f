"""What a checkpoint says of itself: `manifest.json` in its archive."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.inference.errors import CheckpointError
from app.inference.options import DecodingOptions
from app.inference.uncertainty import RULE

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"

_REQUIRED: Mapping[str, type | tuple[type, ...]] = {
    "schema_version": int,
    "name": str,
    "version": str,
    "image_size": int,
    "vocabulary_size": int,
    "max_new_tokens": int,
    "max_views": int,
    "section_names": list,
    "view_names": list,
    "findings": list,
    "default_options": dict,
    "intended_use": str,
    "training_data": list,
    "metrics": dict,
    "git_commit": str,
    "torch_version": str,
    "self_test": dict,
}


def read_manifest(content: str | bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise CheckpointError(f"{MANIFEST} is not JSON") from error
    if not isinstance(manifest, dict):
        raise CheckpointError(f"{MANIFEST} is not an object")
    for key, kind in _REQUIRED.items():
        if not isinstance(manifest.get(key), kind):
            raise CheckpointError(f"{MANIFEST}: {key} is missing or of the wrong type")
    if manifest["schema_version"] != SCHEMA_VERSION:
        raise CheckpointError(
            f"{MANIFEST}: schema_version {manifest['schema_version']}, this program reads {SCHEMA_VERSION}"
        )
    for finding in manifest["findings"]:
        if not {"name", "temperature", "threshold"} <= set(finding):
            raise CheckpointError(f"{MANIFEST}: a finding lacks name, temperature or threshold")
    rule = manifest.get("abstain")
    if rule is not None and not (isinstance(rule, dict) and rule.keys() == {"rule", "balance", "below"}):
        raise CheckpointError(f"{MANIFEST}: abstain is not made of rule, balance and below")
    if rule is not None and rule["rule"] != RULE:
        raise CheckpointError(f"{MANIFEST}: abstain: this program knows the rule {RULE!r}")
    try:
        DecodingOptions(**manifest["default_options"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{MANIFEST}: default_options: {error}") from error
    return manifest
