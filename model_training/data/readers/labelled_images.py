"""A folder of images with a `labels.csv` and no text.

Columns: `file` (path below the folder); any of `source`, `patient`, `split`, `view`, `age`, `sex`; every other column
that is not known to describe the image is a finding: 1 present, 0 absent, blank not labelled. Each image is a study, as
series of one patient are examinations of their own.

A `boxes.csv` beside it (`file, finding, x_centre, y_centre, width, height`, fractions of the image) says where findings
lie in some of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from model_training.data.collection import Collection, ProblemLog, collect
from model_training.data.readers.tables import ImageFolder, parse_split, parse_view, read_rows
from model_training.data.study import Box, Study

LAYOUT = "labelled_images"
LABELS = "labels.csv"
BOXES = "boxes.csv"
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
    folder, boxes = ImageFolder(root), _boxes(root, log)
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


def _boxes(root: Path, log: ProblemLog) -> defaultdict[str, list[Box]]:
    """The boxes of each file; a box that is not four numbers within the image is noted."""
    found: defaultdict[str, list[Box]] = defaultdict(list)
    if not (root / BOXES).is_file():
        return found
    columns = ("x_centre", "y_centre", "width", "height")
    for row in read_rows(root / BOXES, ("file", "finding", *columns), log):
        name, finding = row["file"].strip(), row["finding"].strip()
        try:
            numbers = [float(row[column]) for column in columns]
        except ValueError:
            numbers = [math.nan]
        if _within_the_image(*numbers):
            found[name].append(Box(finding, *numbers))
        else:
            log.add("unreadable-box", f"{name}: {finding}")
    return found


def _within_the_image(*numbers: float) -> bool:
    """Whether they are the middle and the extent of a box that is there and no larger than the image."""
    return len(numbers) == 4 and all(0 <= n <= 1 for n in numbers) and min(numbers[2:]) > 0
