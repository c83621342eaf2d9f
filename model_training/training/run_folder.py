"""A training run on disk: one folder, saved and loaded in one place.

training.pt      the best epoch: configuration, tokenizer, averaged weights; what `export` reads
calibration.json what `calibrate` fitted, for `export`
ood_head.pt      what refuses other images, fitted to it, if it was
anatomy_head.pt  what finds lungs and heart, if it was fitted
wording.pt       the decoder as `wording` fitted it further, if it did
state.pt         everything to go on from after an interruption; gone once the run is finished
config.toml      the configuration as it was used
run.json         when, with which command and which commit of the code the run was started and resumed; its outcome
history.jsonl    one line an epoch; curves.png draws it, tensorboard/ holds it by step
"""

from __future__ import annotations

import io
import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from app.inference.files import write_atomically
from app.inference.manifest import FindingDecision
from app.inference.uncertainty import AbstainRule
from app.text.tokenizer import Tokenizer
from model_training.config import Config, config_from
from model_training.data.files import read_json, reading
from model_training.model.build import build_model
from model_training.model.report_model import ReportModel
from model_training.model.weights import read_tensors
from model_training.training.differences import differences

FILE = "training.pt"
OOD_HEAD = "ood_head.pt"
ANATOMY_HEAD = "anatomy_head.pt"
WORDING = "wording.pt"
STATE = "state.pt"
CALIBRATION = "calibration.json"
CONFIG = "config.toml"
RECORD = "run.json"
HISTORY = "history.jsonl"
CURVES = "curves.png"
TENSORBOARD = "tensorboard"
HELD_BACK = "held_back"  # in a start of the record: studies that data.exclude left out

_FOREIGN = "not what this version of the program writes for a run"
_STATE_PARTS = frozenset(
    ("config", "fingerprint", "step", "seconds", "history", "sums", "counts", "model", "average", "optimiser")
)


class RunError(ValueError):
    """A run folder that cannot be used as asked; the message says why."""


def save_run(folder: Path, model: ReportModel, tokenizer: Tokenizer, config: Config) -> None:
    """Writes the best state atomically."""
    state = {"config": config.as_dict(), "tokenizer": tokenizer.to_json().decode(), "model": model.state_dict()}
    save_tensors(folder / FILE, state)


def load_run(folder: Path) -> tuple[ReportModel, Tokenizer, Config]:
    """The best state of a training run. Raises `RunError` when there is none yet, OSError when there is no run, and
    `UnreadableFileError` when it is damaged."""
    path = folder / FILE
    if unfinished(folder) and not path.exists():
        raise RunError(f"{folder} is not finished and has no epoch yet; the `train` command that began it goes on")
    state = read_tensors(path)
    with reading(path, _FOREIGN):
        config = config_from(state["config"])
        tokenizer = Tokenizer.from_json(state["tokenizer"].encode())
        model = build_model(config, len(tokenizer))
        model.load_state_dict(state["model"])
    return model, tokenizer, config


def unfinished(folder: Path) -> bool:
    """Whether the folder holds a run that was interrupted, or is at work."""
    return (folder / STATE).exists()


def as_done(config: Config, folder: Path) -> Config:
    """The configuration with what had no part in the run taken out, for its checkpoint to tell: encoder weights where
    the encoder is another run's, and exclusions that left out none of its studies."""
    record = _read_record(folder)
    values = config.as_dict()
    if config.training.start_from:
        values["model"]["encoder_weights"] = ""
    if record.get("starts", [{}])[-1].get(HELD_BACK) == 0:
        values["data"]["exclude"] = ()
    return config_from(values)


def start_from(folder: Path, model: ReportModel) -> None:
    """Gives a model the encoder and the finding head of a finished run, in place.

    Raises OSError when there is none and ValueError when its encoder or findings are others.
    """
    given, _, _ = load_run(folder)
    parts = ("encoder.", "finding_head.", "finding_bias")
    state = {name: value for name, value in given.state_dict().items() if name.startswith(parts)}
    try:
        _, foreign = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(f"training.start_from: {folder} has another encoder or other findings") from error
    if foreign:
        raise ValueError(f"training.start_from: {folder} has another encoder")


@dataclass(frozen=True, slots=True)
class Calibration:
    """What `calibrate` has fitted: how each finding and the whole are decided on (None where no study says that it is
    normal), and the rule for uncertain reports."""

    findings: tuple[FindingDecision, ...]
    abnormal: FindingDecision | None
    abstain: AbstainRule
    studies: int

    def to_json(self) -> bytes:
        """The file."""
        content = {
            "findings": [finding.to_json() for finding in self.findings],
            "abnormal": self.abnormal and self.abnormal.to_json(),
            "abstain": asdict(self.abstain),
            "studies": self.studies,
        }
        return (json.dumps(content, indent=1) + "\n").encode()


def read_calibration(folder: Path, findings: Sequence[str]) -> Calibration | None:
    """What `calibrate` has fitted for the findings of a run; None where it was not run.

    Raises `UnreadableFileError` for what it cannot have written.
    """
    path = folder / CALIBRATION
    if not path.exists():
        return None
    content: dict[str, Any] = read_json(path)
    with reading(path, "not what `calibrate` writes for this run"):
        decisions = [FindingDecision.from_json(finding) for finding in content["findings"]]
        abnormal = FindingDecision.from_json(content["abnormal"]) if content["abnormal"] else None
        abstain = AbstainRule(**content["abstain"])
        for one in (*decisions, *filter(None, [abnormal])):
            shares = [threshold.probability for threshold in one.thresholds.values()]
            if not all(0 <= share <= 1 for share in shares) or not 0 < one.temperature < math.inf:
                raise ValueError
        if [one.name for one in decisions] != list(findings) or not math.isfinite(abstain.below):
            raise ValueError
        return Calibration(tuple(decisions), abnormal, abstain, int(content["studies"]))


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes the state to resume from atomically: the one before it stays until this one is whole."""
    save_tensors(folder / STATE, state)


def resumable(folder: Path) -> bool:
    """Whether the folder holds a run to go on with. Raises `RunError` when it holds a finished one."""
    if unfinished(folder):
        return True
    if (folder / FILE).exists():
        raise RunError(f"{folder} holds a finished run; take another folder, or --fresh to train anew")
    return False


def load_state(folder: Path, config: Config) -> dict[str, Any]:
    """The state to resume from. Raises `RunError` when it is of a configuration that trains otherwise, and
    `UnreadableFileError` when it is damaged."""
    path = folder / STATE
    state = read_tensors(path, "; --fresh trains anew")
    with reading(path, _FOREIGN):
        before = config_from(state["config"]).as_dict()
        missing = _STATE_PARTS - state.keys()
        if missing:
            raise ValueError
    if changed := differences(before, config.as_dict()):
        raise RunError(
            f"{folder} holds a run of another configuration: {'; '.join(changed)}. Resume it with its own"
            f" ({CONFIG} in it), take another folder, or --fresh to train anew"
        )
    return state


def check_studies(folder: Path, state: Mapping[str, Any], fingerprint: str) -> None:
    """Raises `RunError` when the state is one of other studies."""
    if state["fingerprint"] != fingerprint:
        raise RunError(f"{folder} holds a run of other studies; take another folder, or --fresh to train anew")


def clear_run(folder: Path) -> None:
    """Removes what a run leaves, except cached images and what others put there."""
    for name in (FILE, OOD_HEAD, ANATOMY_HEAD, WORDING, STATE, CALIBRATION, CONFIG, RECORD, HISTORY, CURVES):
        (folder / name).unlink(missing_ok=True)
    for events in (folder / TENSORBOARD).glob("events.out.tfevents.*"):
        events.unlink()


def record_start(folder: Path, config: Config, start: Mapping[str, Any]) -> None:
    """Writes the configuration, and adds this start (command, commit, time, …) to the record. The best epoch of a run
    that goes on gets the card's words of now."""
    if (folder / FILE).exists():
        best = read_tensors(folder / FILE)
        if best["config"]["card"] != config.as_dict()["card"]:
            save_tensors(folder / FILE, {**best, "config": {**best["config"], "card": config.as_dict()["card"]}})
    record = _read_record(folder)
    record["starts"] = [*record.get("starts", []), dict(start)]
    write_atomically(folder / CONFIG, config.to_toml().encode())
    _write_record(folder, record)


def finish_run(folder: Path, outcome: Mapping[str, Any]) -> None:
    """Records the outcome; from here on the run cannot be resumed."""
    _write_record(folder, {**_read_record(folder), "outcome": dict(outcome)})
    (folder / STATE).unlink()


def write_history(folder: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Writes the history anew: a resumed run must not keep epochs that were lost with the state."""
    write_atomically(folder / HISTORY, "".join(json.dumps(entry) + "\n" for entry in entries).encode())


def git_commit() -> str:
    """The commit of the working tree, "unknown" outside of one."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)  # noqa: S603 fixed words
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    if not path.exists():
        return {}
    record: dict[str, Any] = read_json(path)
    with reading(path, "not the record of a run"):
        if not all(isinstance(start, dict) for start in record.get("starts", [])):
            raise TypeError
    return record


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    write_atomically(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a file of a run atomically."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_atomically(path, buffer.getvalue())
