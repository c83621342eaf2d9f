"""What later commands fit to a finished run, saved and loaded beside it: two heads, and the decoder's wording."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.inference.manifest import OodDetection
from model_training.data.files import reading
from model_training.model.report_model import ReportModel
from model_training.model.weights import read_tensors
from model_training.training.run_folder import ANATOMY_HEAD, OOD_HEAD, WORDING, save_tensors

WORDING_PARTS = ("decoder", "assertion_embedding", "side_embedding", "zone_embedding", "fact_norm")
"""What reads facts and writes words."""


def save_ood_head(folder: Path, fitted: Mapping[str, Any]) -> None:
    """Writes the fitted OOD head (see `model_training.ood.fit`) atomically."""
    save_tensors(folder / OOD_HEAD, fitted)


def load_ood_head(folder: Path, model: ReportModel) -> dict[str, Any] | None:
    """What `save_ood_head` wrote, None where nothing was fitted.

    Raises `UnreadableFileError` for a damaged file and one that does not fit the model.
    """

    def fits(fitted: dict[str, Any]) -> None:
        OodDetection.of(fitted)
        copy.deepcopy(model).attach_ood_head(fitted["head"], fitted["view_head"], laterals=fitted["laterals"])

    return _read(folder / OOD_HEAD, "intake", fits)


def save_anatomy_head(folder: Path, fitted: Mapping[str, Any]) -> None:
    """Writes the fitted anatomy head (see `model_training.anatomy.fit`) atomically."""
    save_tensors(folder / ANATOMY_HEAD, fitted)


def load_anatomy_head(folder: Path, model: ReportModel) -> dict[str, Any] | None:
    """What `save_anatomy_head` wrote, None where nothing was fitted.

    Raises `UnreadableFileError` for a damaged file and one that does not fit the model.
    """
    return _read(
        folder / ANATOMY_HEAD, "anatomy", lambda fitted: copy.deepcopy(model).attach_anatomy_head(fitted["head"])
    )


def save_wording(folder: Path, fitted: Mapping[str, Any]) -> None:
    """Writes the parts that `wording` has fitted atomically."""
    save_tensors(folder / WORDING, fitted)


def load_wording(folder: Path, model: ReportModel) -> None:
    """Gives a run's model the parts that `save_wording` wrote, in place, where there are any.

    Raises `UnreadableFileError` for a damaged file and one that does not fit the model.
    """

    def fits(fitted: dict[str, Any]) -> None:
        missing, foreign = model.load_state_dict(fitted["state"], strict=False)
        if foreign or any(name.split(".")[0] in WORDING_PARTS for name in missing):
            raise ValueError

    _read(folder / WORDING, "wording", fits)


def _read(path: Path, command: str, fits: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
    """What the command has written, once `fits` has raised nothing; None where there is no file."""
    if not path.exists():
        return None
    fitted: dict[str, Any] = read_tensors(path)
    with reading(path, f"not what `{command}` writes for this run"):
        fits(fitted)
    return fitted
