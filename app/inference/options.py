"""Decoding options: Hugging Face `generate`'s names and meaning, checked in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

MAX_BEAMS = 8

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
        checks = (
            ("num_beams", 1 <= self.num_beams <= MAX_BEAMS, f"must be from 1 to {MAX_BEAMS}"),
            ("num_return_sequences", 1 <= self.num_return_sequences <= self.num_beams, "must be from 1 to num_beams"),
            ("length_penalty", -10.0 <= self.length_penalty <= 10.0, "must be from -10 to 10"),
            ("early_stopping", self.early_stopping in (True, False, "never"), 'must be true, false or "never"'),
            ("max_new_tokens", self.max_new_tokens >= 1, "must be at least 1"),
            (
                "min_new_tokens",
                0 <= self.min_new_tokens <= self.max_new_tokens,
                "must be from 0 to max_new_tokens",
            ),
            ("no_repeat_ngram_size", self.no_repeat_ngram_size >= 0, "must be 0 (off) or more"),
            ("repetition_penalty", 0.1 <= self.repetition_penalty <= 10.0, "must be from 0.1 to 10"),
        )
        for option, holds, message in checks:
            if not holds:
                raise InvalidOptionError(option, f"{option} {message}")

    def with_changes(self, **changes: Any) -> DecodingOptions:
        """These options with the given ones replaced; checked again."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, int | float | bool | str]:
        """Name to value, in the order declared."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
