"""A folder of images with a `labels.csv` and no text.

Columns: `file` (path below the folder); any of `source`, `patient`, `split`, `view`, `age`, `sex`; every other column
that is not known to describe the image is a finding: 1 present, 0 absent, blank not labelled. Each image is a study, as
series of one patient are examinations of their own.

A `boxes.csv` beside it says where findings lie in some of them (`model_training.data.readers.boxes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from model_training.data.collection import Collection, ProblemLog, collect
from model_training.data.readers.boxes import read_boxes
from model_training.data.readers.tables import ImageFolder, parse_split, parse_view, read_rows
from model_training.data.study import Study

LAYOUT = "labelled_images"
LABELS = "labels.csv"
NEEDS = f"{LABELS} with the column file and one column a finding"

_DESCRIPTIVE = frozenset({"file", "source", "patient", "split", "view", "age", "sex", "pneumonia_kind", "licence"})
_OLDEST = 120  # years; what is more is a slip of the source
_VALUES: dict[str, bool | None] = {"1": True, "1.0": True, "0": False, "0.0": False, "": None}


def detect(root: Path) -> bool:
    """Whether the folder holds this layout."""
    return (root / LABELS).is_file()


def read(root: Path) -> Collection:
    """Reads the folder. Raises OSError or ValueError when the table is missing or has no column `file`."""
    log = ProblemLog()
    return collect(root, LAYOUT, _studies(root, log), log, f"the column split of {LABELS}")


def _studies(root: Path, log: ProblemLog) -> Iterator[Study]:
    folder, boxes = ImageFolder(root), read_boxes(root, log)
    for row in read_rows(root / LABELS, ("file",), log):
        name, source, patient = row["file"].strip(), row.get("source") or None, row.get("patient") or None
        findings = [(finding, value.strip()) for finding, value in row.items() if finding not in _DESCRIPTIVE]
        for finding, value in findings:
            if value not in _VALUES:
                log.add("unknown-label", f"{name}: {finding} {value!r}")
        yield Study(
            id=name,
            images=tuple(
                replace(image, boxes=tuple(boxes[name]))
                for image in folder.images([(name, parse_view(row.get("view"), name, log))], log)
            ),
            labels=tuple((finding, _VALUES.get(value)) for finding, value in findings),
            attributes=tuple(_attributes(row)),
            split=parse_split(row.get("split"), name, log),
            # numbers of patients mean nothing outside their source
            patient=f"{source}/{patient}" if source and patient else patient,
            source=source,
        )


def _attributes(row: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """What the row says of patient and exposure, as far as it can be read."""
    age = row.get("age", "").strip().removesuffix("Y")
    if age.isdecimal() and int(age) <= _OLDEST:
        yield "age", float(age)
    for name, column, values in (("male", "sex", ("F", "M")), ("anteroposterior", "view", ("PA", "AP"))):
        value = row.get(column, "").strip().upper()
        if value in values:
            yield name, float(values.index(value))
