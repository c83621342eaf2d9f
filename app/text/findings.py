"""The findings that reports are read for, and what a text can say of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.text.phrases import PRESENT

Status = Literal["present", "absent", "uncertain"]
# The statuses that count as naming a finding. On training findings, doubted ones counted as present agree with the
# human codes to a micro-F1 of .94, not counted to .90: those who coded counted them too.
POSITIVE: frozenset[Status] = frozenset({"present", "uncertain"})

FINDINGS: tuple[str, ...] = tuple(PRESENT)
# Findings of one midline structure, which have no side.
MIDLINE = frozenset({"cardiomegaly", "degenerative spine", "atherosclerosis", "aortic tortuosity", "hiatal hernia"})
# What collections of labelled images call findings (Wang et al., "ChestX-ray8", CVPR 2017), and ours they belong to.
IMAGE_LABELS: dict[str, str] = {
    "atelectasis": "atelectasis",
    "cardiomegaly": "cardiomegaly",
    "effusion": "pleural effusion",
    "infiltration": "airspace opacity",
    "pneumonia": "airspace opacity",
    "consolidation": "airspace opacity",
    "mass": "nodule",
    "nodule": "nodule",
    "pneumothorax": "pneumothorax",
    "edema": "pulmonary edema",
    "emphysema": "hyperinflation",
    "fibrosis": "increased markings",
    "pleural_thickening": "scarring",
    "hernia": "hiatal hernia",
}
# Words that are one such label's alone, where several share a finding or it is narrower than that; lower-case.
LABEL_WORDS: dict[str, str] = {
    "infiltration": "infiltrat",
    "pneumonia": "pneumonia",
    "consolidation": "consolidat",
    "mass": r"\bmass(?:es)?\b",
    "nodule": "nodul",
    "emphysema": "emphysem|copd|bulla|bleb",
    "fibrosis": "fibro",
    "pleural_thickening": "thicken",
}


@dataclass(frozen=True, slots=True)
class Mention:
    """What a text says of one finding; `sides` is a subset of {"left", "right"}, both when bilateral."""

    finding: str
    status: Status
    sides: frozenset[str] = frozenset()
