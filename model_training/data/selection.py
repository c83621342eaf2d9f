"""Which studies of a collection are learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from model_training.data.readers.indiana import HELD_BACK
from model_training.data.study import Study

_EXCLUDED = {"@indiana": HELD_BACK}


@dataclass(frozen=True, slots=True, config=ConfigDict(strict=True, extra="forbid"))
class DataConfig:
    """Which findings, sections and words the model learns, and the ids of studies that training never sees.

    `exclude` may name `@indiana`, the studies of the Indiana collection that are held back as the real-world check.
    `sources` keeps to those of a collection that was gathered from several; none named: all. `reports` is the folder of
    a collection whose training reports are made of for images that have labels only (`pairing.composition`). `denied`
    are the findings that a report may deny. Probabilities and thresholds are fitted to the `natural` sources, where
    findings are as common as where the model is to work; none named: to all. `views` are those the model reads. The
    words of the training texts that occur `min_count` times are known to the model, and up to `phrases` phrases of
    them.
    """

    findings: tuple[str, ...] = ()
    sections: tuple[Literal["findings", "impression"], ...] = ("findings", "impression")
    min_count: int = Field(default=1, ge=1)
    max_views: int = Field(default=4, ge=1)
    exclude: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    reports: str = ""
    denied: tuple[str, ...] = ()
    natural: tuple[str, ...] = ()
    views: tuple[Literal["frontal", "lateral"], ...] = ("frontal", "lateral")
    phrases: int = Field(default=0, ge=0)

    def __post_init__(self) -> None:
        """Raises ValueError without a section."""
        if not self.sections:
            raise ValueError("sections: name at least one")

    @property
    def excluded(self) -> frozenset[str]:
        """The ids of `exclude`, names of lists replaced by what they hold."""
        return frozenset().union(*(_EXCLUDED.get(name, {name}) for name in self.exclude))


def select_studies(studies: Sequence[Study], data: DataConfig) -> tuple[list[Study], dict[str, int]]:
    """The studies to learn from, and how many are left out for what reason: held back by id, of another source than
    those named, or without an image."""
    kept: list[Study] = []
    excluded = data.excluded
    left_out = {"held back by data.exclude": 0, "without an image": 0}
    if data.sources:
        left_out["of another source"] = 0
    for study in studies:
        if study.id in excluded:
            left_out["held back by data.exclude"] += 1
        elif data.sources and study.source not in data.sources:
            left_out["of another source"] += 1
        elif not study.images:
            left_out["without an image"] += 1
        else:
            kept.append(study)
    return kept, left_out
