"""The reports that others are composed of."""

from __future__ import annotations

from pathlib import Path

from model_training.data.pairing.composition import Composer
from model_training.data.readers import read_collection
from model_training.data.selection import DataConfig
from model_training.data.text.text_policy import TextPolicy


def read_composer(folder: Path, data: DataConfig, text: TextPolicy) -> tuple[Composer, str]:
    """A composer of the sentences of a collection's training reports, less those held back, and a line that counts
    them. Raises OSError and ValueError."""
    reports = read_collection(folder).split("train")
    chosen = [text.apply(study) for study in reports if study.id not in data.excluded]
    composer = Composer(chosen, data.sections, data.findings, data.denied)
    return composer, f"reports composed of {len(chosen):,} of {len(reports):,} training reports of {folder.name}"
