"""Where findings lie in images: a `boxes.csv` beside the tables of a collection, centre and size of each box as
fractions of the image."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

from model_training.data.collection import ProblemLog
from model_training.data.readers.tables import read_rows
from model_training.data.study import Box

BOXES = "boxes.csv"
COLUMNS = ("file", "finding", "x_centre", "y_centre", "width", "height")


def read_boxes(root: Path, log: ProblemLog) -> defaultdict[str, list[Box]]:
    """The boxes of each file, none where there is no table; a box that is not four numbers within the image is noted.

    Raises OSError, and `UnreadableFileError` for a table without one of `COLUMNS`.
    """
    found: defaultdict[str, list[Box]] = defaultdict(list)
    if not (root / BOXES).is_file():
        return found
    for row in read_rows(root / BOXES, COLUMNS, log):
        name, finding = row["file"].strip(), row["finding"].strip()
        try:
            numbers = [float(row[column]) for column in COLUMNS[2:]]
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
