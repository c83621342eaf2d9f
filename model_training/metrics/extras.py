"""Packages that only some need: what lacks is said together with what to install."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


class MissingExtraError(ImportError):
    """An optional package of this project is not installed."""


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional extra of this project and the packages that come with it."""

    name: str
    packages: tuple[str, ...]

    def load(self, module: str) -> Any:
        """A module of one of the packages, which are untyped. Raises `MissingExtraError` that names the extra."""
        try:
            return importlib.import_module(module)
        except ImportError as error:
            remedy = f'pip install "xray-report[{self.name}]"'
            raise MissingExtraError(f'scoring needs the extra "{self.name}" ({remedy}): {error}') from error

    def check(self) -> None:
        """Raises `MissingExtraError` where one of the packages lacks."""
        for package in self.packages:
            self.load(package)


EVALUATION = Extra("evaluation", ("pycocoevalcap", "sacrebleu"))
