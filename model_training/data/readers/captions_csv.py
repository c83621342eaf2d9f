"""A plain `captions.csv`: image and caption, one row an image.

Optional columns: `study` (rows of one study are joined; without it every row is a study of its own), `split`, `view`,
`patient`. A caption that holds the headings FINDINGS: or IMPRESSION: is cut there, any other is all findings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from model_training.data.collection import Collection, ProblemLog, collect
from model_training.data.readers.tables import ImageFolder, parse_split, parse_view, read_rows, section
from model_training.data.study import Study

LAYOUT = "captions_csv"
CAPTIONS = "captions.csv"
NEEDS = f"{CAPTIONS} with the columns image, caption"

_HEADING = re.compile(r"\b(findings|impression)\s*:", re.IGNORECASE)


def detect(root: Path) -> bool:
    """Whether the folder holds this layout."""
    return (root / CAPTIONS).is_file()


def read(root: Path) -> Collection:
    """Reads the folder. Raises OSError or ValueError when the table is missing or lacks a column."""
    log = ProblemLog()
    studies: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(root / CAPTIONS, ("image", "caption"), log):
        study, image = row.get("study", "").strip(), row["image"].strip()
        if not study and image in studies:
            log.add("duplicate-id", image)
        else:
            studies.setdefault(study or image, []).append(row)
    return collect(root, LAYOUT, _studies(root, studies, log), log, f"the column split of {CAPTIONS}")


def cut_headings(caption: str) -> tuple[str, str]:
    """Findings and impression of a caption; what stands before the first heading is findings."""
    first, *rest = _HEADING.split(caption)
    texts = {"findings": [first], "impression": []}
    for heading, text in zip(rest[::2], rest[1::2], strict=True):
        texts[heading.lower()].append(text)
    return section(" ".join(texts["findings"])), section(" ".join(texts["impression"]))


def _studies(root: Path, studies: dict[str, list[dict[str, str]]], log: ProblemLog) -> Iterator[Study]:
    folder = ImageFolder(root)
    for name, rows in studies.items():
        if len({section(row["caption"]) for row in rows}) > 1:
            log.add("conflicting-captions", name)
        if len({row.get("split") for row in rows}) > 1:
            log.add("conflicting-split", name)
        named = [(row["image"], parse_view(row.get("view"), row["image"], log)) for row in rows]
        findings, impression = cut_headings(rows[0]["caption"])
        yield Study(
            id=name,
            images=folder.images(named, log),
            findings=findings,
            impression=impression,
            split=parse_split(rows[0].get("split"), name, log),
            patient=rows[0].get("patient") or None,
        )
