"""Decoding options: Hugging Face `generate`'s names and meaning, and every bound of them in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

MAX_BEAMS = 8
# By default: beams in flight over all studies, and studies waiting for them.
MAX_ROWS, MAX_QUEUE = 64, 64
# What each number may be, ends included. Tokens end where the model's do, or where another option says.
RANGES: Mapping[str, tuple[float, float | None]] = {
    "num_beams": (1, MAX_BEAMS),
    "num_return_sequences": (1, MAX_BEAMS),
    "length_penalty": (-10.0, 10.0),
    "min_new_tokens": (0, None),
    "max_new_tokens": (1, None),
    "no_repeat_ngram_size": (0, None),
    "repetition_penalty": (0.1, 10.0),
}

EarlyStopping = bool | Literal["never"]


class InvalidOptionError(ValueError):
    """An option outside its range. `option` names it."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """How one study's report is searched for. `max_new_tokens` counts the end-of-sequence token."""

    num_beams: int = 3
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False
    min_new_tokens: int = 0
    max_new_tokens: int = 128
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        """Raises `InvalidOptionError` for the first option out of range."""
        self._check("num_beams")
        self._check("num_return_sequences", at_most="num_beams")
        self._check("length_penalty")
        if self.early_stopping not in (True, False, "never"):
            raise InvalidOptionError("early_stopping", 'early_stopping must be true, false or "never"')
        self._check("max_new_tokens", otherwise="must be at least 1")
        self._check("min_new_tokens", at_most="max_new_tokens")
        self._check("no_repeat_ngram_size", otherwise="must be 0 (off) or more")
        self._check("repetition_penalty")

    def _check(self, option: str, *, at_most: str | None = None, otherwise: str | None = None) -> None:
        value, (low, high) = getattr(self, option), RANGES[option]
        if at_most is not None:
            high = getattr(self, at_most)
        if not (low <= value and (high is None or value <= high)):
            wanted = otherwise or f"must be from {low:g} to {at_most or format(high, 'g')}"
            raise InvalidOptionError(option, f"{option} {wanted}")

    def with_changes(self, **changes: Any) -> DecodingOptions:
        """These options with the given ones replaced; checked again."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, int | float | bool | str]:
        """Name to value, in the order declared."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
