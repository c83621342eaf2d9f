"""What is reported on, and what can become of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Grouping = Literal["file", "folder"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a study has no report: a type of the API's table or one of ours, in docs/command-line.md, and its words."""

    type: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """`key` is its name in the results: a DICOM study's UID, else a path or what the table calls it. `files` are
    relative to where the listing begins. With a `problem` nothing is asked."""

    key: str
    files: tuple[str, ...]
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A study's report as the API answers it, or the problem."""

    study: Study
    answer: Mapping[str, Any] | None = None
    problem: Problem | None = None


class StopError(Exception):
    """The run cannot go on; the message is for whoever started it."""


class ToldToStopError(StopError):
    """Whoever started it changed their mind."""

    def __init__(self) -> None:
        super().__init__("stopped; the same command goes on from here")
