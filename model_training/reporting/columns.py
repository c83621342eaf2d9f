"""What figures are called, and which of them each table of an evaluation shows, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from model_training.evaluation.text_scores import NAMING
from model_training.metrics import registry

_WORDS = {"auroc": "AUROC", "ap": "AP", "f1": "F1", "ece": "ECE", "brier": "Brier"}
_NAMES = {"micro_f1": "micro-F1", "macro_f1": "macro-F1"}

FINDING = (
    "positive", "labelled", "AUROC", "AUROC low", "AUROC high", "AP", "F1", "ECE before", "ECE", "Brier before",
    "Brier", "temperature", "threshold",
)  # fmt: skip
HEAD = (
    "studies", "common findings", "AUROC", "AUROC low", "AUROC high", "mean AUROC", "micro-F1", "mean ECE", "ECE of all"
)  # fmt: skip
TEXT_OF_LABELS = (
    "micro-F1", "micro-F1 low", "micro-F1 high", "lead", "lead low", "lead high", "macro-F1", "distinct", "marks",
    "prior", "beyond labels",
)  # fmt: skip
AREAS = ("positive", "AUROC", "AUROC low", "AUROC high", "ECE")
ABNORMAL = ("abnormal", "normal", "AUROC", "AUROC low", "AUROC high")
OPERATING_POINT = (
    "normal", "false alarms", "false alarms low", "false alarms high", "sensitivity", "sensitivity low",
    "sensitivity high", "urgent", "urgent low", "urgent high",
)  # fmt: skip
CONSISTENCY = ("reports", "exact", "exact low", "exact high", "repeating")
PLACES = (
    "boxes", "sided", "right side", "right side low", "right side high", "zoned", "right zone", "right zone low",
    "right zone high",
)  # fmt: skip
ACCEPTED = ("images", "accepted")
POINTING = ("images", "hit", "hit low", "hit high", "middle", "lead", "lead low", "lead high")
STATED = (
    "images", "hit", "hit low", "hit high", "middle", "lead", "lead low", "lead high", "boxed", "box hit",
    "box hit low", "box hit high", "overlap",
)  # fmt: skip
ABSTAINING = ("answered", "micro-F1", "micro-F1 low", "micro-F1 high", "gain", "gain low", "gain high")


def text() -> list[str]:
    """Every score of texts."""
    scores = [metric.name for metric in registry.METRICS]
    return [*scores, *(metric.name for metric in registry.CORPUS_METRICS if not metric.memorisation)]


def memorisation() -> list[str]:
    """The signs of it."""
    return [metric.name for metric in registry.CORPUS_METRICS if metric.memorisation]


def headline() -> list[str]:
    """The scores of texts by which systems are compared."""
    return [metric.name for metric in registry.METRICS if metric.headline]


def group(normal: bool) -> list[str]:
    """What is resampled of normal or of abnormal studies alone. Where nothing is to be found, F1 is 0 or undefined and
    only the false alarms count."""
    return [*(metric.name for metric in registry.METRICS if not (normal and metric.of_findings)), NAMING]


def heading(field: str) -> str:
    """What a field of a result is called in tables and JSON."""
    return _NAMES.get(field) or " ".join(_WORDS.get(word, word) for word in field.split("_"))


def named(result: Any) -> Any:
    """A result as JSON has it: its fields by their headings, but for those that are None."""
    if isinstance(result, Mapping):
        return {key: named(value) for key, value in result.items()}
    if not is_dataclass(result):
        return result
    values = {heading(field.name): getattr(result, field.name) for field in fields(result)}
    return {name: named(value) for name, value in values.items() if value is not None}


def with_bounds(row: Mapping[str, Any]) -> dict[str, float]:
    """A row as JSON has it with each estimate as three columns."""
    flat: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {key: value["value"], f"{key} low": value["low"], f"{key} high": value["high"]}
        else:
            flat[key] = value
    return flat
