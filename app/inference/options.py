"""Decoding options: Hugging Face `generate`'s names and meaning, and what every option may be in one table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

MAX_BEAMS = 8
# No checkpoint writes more; most write less.
MAX_TOKENS = 1024
# By default: beams in flight over all studies, and studies waiting for them.
MAX_ROWS, MAX_QUEUE = 64, 64

EarlyStopping = bool | Literal["never"]
# The values of the options that are no numbers; of `sections` the checkpoint knows them.
EARLY_STOPPING: Mapping[str, EarlyStopping] = {"true": True, "false": False, "never": "never"}
INCLUDES = ("alternatives", "sentences", "tokens", "heatmaps")
# Which DICOM object an answer in DICOM is; the first is the default.
OBJECTS = ("sr", "pdf")
OperatingPoint = Literal["balanced", "sensitive", "specific"]
# The thresholds that decide what is present; the first is the default.
OPERATING_POINTS: tuple[OperatingPoint, ...] = get_args(OperatingPoint)

_INTEGER = re.compile("-?[0-9]+")
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
# Digits beyond what any value in range has: Python takes its time with thousands, and refuses more.
_MAX_CHARACTERS = 100


class InvalidOptionError(ValueError):
    """An option outside its range. `option` names it."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


@dataclass(frozen=True, slots=True)
class Range:
    """What an option that is a number may be, ends included. `at_most` names the option that is its upper end where
    that is less; a number `of_tokens` ends where the model's do."""

    name: str
    type: type[int] | type[float]
    minimum: float
    maximum: float
    meaning: str
    at_most: str = ""
    of_tokens: bool = False

    def __str__(self) -> str:
        """For a reader, as in `1 to 8`."""
        limit = ", or the model's limit" if self.of_tokens and not self.at_most else ""
        return f"{self.minimum:g} to {self.at_most or format(self.maximum, 'g')}{limit}"

    def maximum_of(self, model_tokens: int) -> float:
        """The upper end with a model that writes so many tokens."""
        return min(self.maximum, model_tokens) if self.of_tokens else self.maximum

    def parse(self, text: str) -> int | float:
        """The number a text is, in plain decimal digits. Raises `InvalidOptionError` without repeating the text."""
        if not (_INTEGER if self.type is int else _NUMBER).fullmatch(text):
            raise self._no_number()
        if len(text) > _MAX_CHARACTERS:
            raise InvalidOptionError(self.name, f"{self.name} must be from {self}")
        return self.type(text)

    def check(self, value: object, maximum: float | None = None, whose: str = "") -> None:
        """Raises `InvalidOptionError` for a value that is no such number, not finite or out of range. `whose` says
        where a `maximum` other than the table's comes from."""
        if isinstance(value, bool) or not isinstance(value, int if self.type is int else int | float):
            raise self._no_number()
        high = self.maximum if maximum is None else maximum
        if self.minimum <= value <= high:
            return
        if self.at_most or not self.of_tokens:
            wanted = f"from {self.minimum:g} to {self.at_most or format(high, 'g')}"
        else:
            wanted = f"at least {self.minimum:g}" if value < self.minimum else f"at most {high:g}{whose}"
        raise InvalidOptionError(self.name, f"{self.name} must be {wanted}")

    def _no_number(self) -> InvalidOptionError:
        kind = "a whole number" if self.type is int else "a number"
        return InvalidOptionError(self.name, f"{self.name} must be {kind}")


RANGES: Mapping[str, Range] = {
    one.name: one
    for one in (
        Range("num_beams", int, 1, MAX_BEAMS, "Beam width; 1 is greedy search."),
        Range("num_return_sequences", int, 1, MAX_BEAMS, "How many hypotheses.", at_most="num_beams"),
        Range("length_penalty", float, -10.0, 10.0, "Exponent of the length in the score."),
        Range(
            "min_new_tokens",
            int,
            0,
            MAX_TOKENS,
            "Least length, end of sequence counted.",
            at_most="max_new_tokens",
            of_tokens=True,
        ),
        Range("max_new_tokens", int, 1, MAX_TOKENS, "Greatest length, end of sequence counted.", of_tokens=True),
        Range("no_repeat_ngram_size", int, 0, MAX_TOKENS, "No n-gram of this size twice; 0 is off.", of_tokens=True),
        Range("repetition_penalty", float, 0.1, 10.0, "Above 1 discourages repetition."),
    )
}
# What the options that are no numbers mean.
MEANINGS: Mapping[str, str] = {
    "early_stopping": "When a study is done: at once with enough hypotheses, by estimate, or never before certain.",
    "sections": "Sections of the report to answer with.",
    "include": "What to add to the answer.",
    "operating_point": "Which thresholds decide what is present.",
    "object": "Which object an answer as DICOM is: a structured report, or the page as an Encapsulated PDF.",
}


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
        """Raises `InvalidOptionError` for an option of the wrong kind or out of range."""
        if not any(self.early_stopping is value for value in (True, False)) and self.early_stopping != "never":
            raise _no_early_stopping()
        for name, range_ in RANGES.items():
            range_.check(getattr(self, name))
        for name, range_ in RANGES.items():
            if range_.at_most:
                range_.check(getattr(self, name), getattr(self, range_.at_most))

    def check_model(self, max_new_tokens: int) -> None:
        """Raises `InvalidOptionError` for what a model that writes so many tokens does not take."""
        check_model(self.as_dict(), max_new_tokens)

    def with_changes(self, **changes: Any) -> DecodingOptions:
        """These options with the given ones replaced; checked again."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, int | float | bool | str]:
        """Name to value, in the order declared."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def check_model(values: Mapping[str, object], max_new_tokens: int) -> None:
    """As `DecodingOptions.check_model`, for some of them."""
    for name, value in values.items():
        if name in RANGES and not RANGES[name].at_most:
            RANGES[name].check(value, RANGES[name].maximum_of(max_new_tokens), " with this model")


def parse_option(name: str, text: str) -> int | float | bool | str:
    """The value of a decoding option that a client wrote. Raises `InvalidOptionError`, which does not repeat it."""
    if name in RANGES:
        return RANGES[name].parse(text)
    if text.lower() not in EARLY_STOPPING:
        raise _no_early_stopping()
    return EARLY_STOPPING[text.lower()]


def _no_early_stopping() -> InvalidOptionError:
    return InvalidOptionError("early_stopping", 'early_stopping must be true, false or "never"')
