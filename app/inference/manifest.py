"""What a checkpoint says of itself: `manifest.json` in its archive, read and written here only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.inference.errors import CheckpointError
from app.inference.ood import OodThresholds, sigmoid
from app.inference.options import MAX_TOKENS, OPERATING_POINTS, DecodingOptions, OperatingPoint
from app.inference.uncertainty import RULE, AbstainRule

SCHEMA_VERSION = 3
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
    "views_read": list,
    "findings": list,
    "default_options": dict,
    "intended_use": str,
    "training_data": list,
    "metrics": dict,
    "git_commit": str,
    "torch_version": str,
    "self_test": dict,
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """The probability from which on something is present, and how sensitive and specific that is on validation."""

    probability: float
    sensitivity: float | None = None
    specificity: float | None = None


@dataclass(frozen=True, slots=True)
class FindingDecision:
    """How a finding is decided on: its probability is the logistic function of its logit / `temperature` + `bias`, its
    thresholds are by operating point, and the decoder may be told to deny it below `denied_below`.

    Where a side (zone) holds at least `side_from` (`zone_from`) of the evidence, that is where it lies.
    """

    name: str
    temperature: float
    thresholds: Mapping[OperatingPoint, Threshold]
    bias: float = 0.0
    denied_below: float | None = None
    side_from: float | None = None
    zone_from: float | None = None

    def probability(self, logit: float) -> float:
        """The calibrated probability."""
        return sigmoid(logit / self.temperature + self.bias)

    def to_json(self) -> dict[str, Any]:
        """As the manifest has it, without what is not known."""
        return {
            name: {point: _without_none(asdict(one)) for point, one in value.items()} if name == "thresholds" else value
            for name in self.__slots__
            if (value := getattr(self, name)) is not None
        }

    @classmethod
    def from_json(cls, content: Any) -> FindingDecision:
        """Raises KeyError, TypeError, AttributeError."""
        thresholds = {point: Threshold(**content["thresholds"][point]) for point in OPERATING_POINTS}
        return cls(**{**content, "thresholds": thresholds})


@dataclass(frozen=True, slots=True)
class OodDetection:
    """What the out-of-distribution head says of an image: its `outputs` in order and the logits from which on they
    count; whether real `laterals` were in its training, its `figures` on validation, and the examples by group.

    In the manifest its key is `intake`.
    """

    thresholds: OodThresholds
    laterals: bool = False
    outputs: Sequence[str] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    fitted_on: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, fitted: Mapping[str, Any]) -> OodDetection:
        """From the key's content, whatever else that holds. Raises KeyError and TypeError."""
        bounds = fitted["thresholds"]
        thresholds = OodThresholds(bounds["chest"], bounds["inverted"], bounds["turned"])
        known = {name: fitted[name] for name in ("laterals", "outputs", "figures", "fitted_on") if name in fitted}
        return cls(thresholds, **known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One checkpoint's. `self_test` is what its picture must give, logits by name, None for what is never said."""

    name: str
    version: str
    intended_use: str
    training_data: Sequence[str]
    image_size: int
    vocabulary_size: int
    max_new_tokens: int
    max_views: int
    section_names: tuple[str, ...]
    view_names: tuple[str, ...]
    views_read: tuple[str, ...]
    findings: tuple[FindingDecision, ...]
    abnormal: FindingDecision | None = None
    abstain: AbstainRule | None = None
    ood: OodDetection | None = None
    default_options: DecodingOptions
    metrics: Mapping[str, Any]
    git_commit: str
    torch_version: str
    config: Mapping[str, Any]
    self_test: Mapping[str, Sequence[float | None]] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The file, schema 3."""
        abstain = self.abstain and {"rule": RULE, "balance": self.abstain.balance, "below": self.abstain.below}
        content = {
            "name": self.name,
            "version": self.version,
            "intended_use": self.intended_use,
            "training_data": self.training_data,
            "image_size": self.image_size,
            "vocabulary_size": self.vocabulary_size,
            "max_new_tokens": self.max_new_tokens,
            "max_views": self.max_views,
            "section_names": self.section_names,
            "view_names": self.view_names,
            "views_read": self.views_read,
            "findings": [finding.to_json() for finding in self.findings],
            "abnormal": self.abnormal and self.abnormal.to_json(),
            "abstain": abstain,
            "intake": self.ood and _ood_content(self.ood),
            "default_options": self.default_options.as_dict(),
            "metrics": self.metrics,
            "git_commit": self.git_commit,
            "torch_version": self.torch_version,
            "config": self.config,
            "schema_version": SCHEMA_VERSION,
            "self_test": self.self_test,
        }
        return json.dumps(content, indent=1).encode()

    @classmethod
    def from_json(cls, data: str | bytes) -> Manifest:
        """Raises `CheckpointError` naming the key that is missing or cannot be."""
        content = _content(data)
        findings, abstain = tuple(map(_finding, content["findings"])), _abstain(content.get("abstain"))
        abnormal = content.get("abnormal")
        try:
            options = DecodingOptions(**content["default_options"])
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{MANIFEST}: default_options: {error}") from error
        return cls(
            name=content["name"],
            version=content["version"],
            intended_use=content["intended_use"],
            training_data=content["training_data"],
            image_size=content["image_size"],
            vocabulary_size=content["vocabulary_size"],
            max_new_tokens=content["max_new_tokens"],
            max_views=content["max_views"],
            section_names=tuple(content["section_names"]),
            view_names=tuple(content["view_names"]),
            views_read=tuple(content["views_read"]),
            findings=findings,
            abnormal=_finding(abnormal) if abnormal else None,
            abstain=abstain,
            ood=_ood(content.get("intake")),
            default_options=options,
            metrics=content["metrics"],
            git_commit=content["git_commit"],
            torch_version=content["torch_version"],
            config=content.get("config", {}),
            self_test=content["self_test"],
        )


def _content(data: str | bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{MANIFEST} is not JSON") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{MANIFEST} is not an object")
    version = content.get("schema_version")
    if isinstance(version, int) and version != SCHEMA_VERSION:  # or the keys of another one are missed first
        raise CheckpointError(f"{MANIFEST}: schema_version {version}, this program reads {SCHEMA_VERSION}")
    for key, kind in _REQUIRED.items():
        if not isinstance(content.get(key), kind):
            raise CheckpointError(f"{MANIFEST}: {key} is missing or of the wrong type")
    if not 1 <= content["max_new_tokens"] <= MAX_TOKENS:
        raise CheckpointError(f"{MANIFEST}: max_new_tokens must be from 1 to {MAX_TOKENS}")
    return content


def _finding(content: Any) -> FindingDecision:
    try:
        return FindingDecision.from_json(content)
    except (KeyError, TypeError, AttributeError) as error:
        points = ", ".join(OPERATING_POINTS)
        raise CheckpointError(
            f"{MANIFEST}: a finding is not made of name, temperature and thresholds for {points}"
        ) from error


def _abstain(content: Any) -> AbstainRule | None:
    if content is None:
        return None
    if not (isinstance(content, dict) and content.keys() == {"rule", "balance", "below"}):
        raise CheckpointError(f"{MANIFEST}: abstain is not made of rule, balance and below")
    if content["rule"] != RULE:
        raise CheckpointError(f"{MANIFEST}: abstain: this program knows the rule {RULE!r}")
    return AbstainRule(content["balance"], content["below"])


def _ood(content: Any) -> OodDetection | None:
    if not content:
        return None
    try:
        return OodDetection.of(content)
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"{MANIFEST}: intake lacks the thresholds chest, inverted or turned") from error


def _ood_content(ood: OodDetection) -> dict[str, Any]:
    return {
        "laterals": ood.laterals,
        "outputs": ood.outputs,
        "thresholds": asdict(ood.thresholds),
        "figures": ood.figures,
        "fitted_on": ood.fitted_on,
    }


def _without_none(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if value is not None}
