"""The CSV pair of the Indiana collection: a table of reports and a table of images and their views.

Folder: `indiana_reports.csv` (uid, MeSH with `;` between codes, indication, findings, impression, …),
`indiana_projections.csv` (uid, filename, projection) and the images in one of the usual folders. The split is from
`split.csv` (uid, split) beside them, else from R2Gen's `annotation.json`. The table of reports may name a `patient`; a
`boxes.csv` may say where findings lie in some images (`model_training.data.readers.boxes`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from model_training.data.collection import Collection, ProblemLog, collect
from model_training.data.readers.boxes import read_boxes
from model_training.data.readers.indiana import (
    PROJECTIONS,
    REPORTS,
    mesh_codes,
    note_strange_splits,
    read_projections,
    read_reports,
    read_split,
    spellings,
)
from model_training.data.readers.tables import ImageFolder, section
from model_training.data.study import Split, Study, View

LAYOUT = "kaggle_csv"
NEEDS = f"{REPORTS} and {PROJECTIONS}"


def detect(root: Path) -> bool:
    """Whether the folder holds this layout."""
    return (root / REPORTS).is_file() and (root / PROJECTIONS).is_file()


def read(root: Path) -> Collection:
    """Reads the folder. Raises OSError or ValueError when a table is missing or is another table."""
    log = ProblemLog()
    reports, images = read_reports(root, log), read_projections(root, log)
    for uid, names in images.items():
        for name in names if uid not in reports else ():
            log.add("image-without-report", name)
    splits, origin = read_split(root, log)
    note_strange_splits(splits, reports, log)
    return collect(root, LAYOUT, _studies(root, reports, images, splits, log), log, origin)


def _studies(
    root: Path,
    reports: dict[str, dict[str, str]],
    images: dict[str, dict[str, View | None]],
    splits: dict[str, Split | None],
    log: ProblemLog,
) -> Iterator[Study]:
    folder, boxes = ImageFolder(root), read_boxes(root, log)
    for uid, row in reports.items():
        found = folder.images(images.get(uid, {}).items(), log, spellings)
        yield Study(
            id=uid,
            images=tuple(replace(image, boxes=tuple(boxes[image.path.name])) for image in found),
            findings=section(row["findings"]),
            impression=section(row["impression"]),
            indication=section(row.get("indication")),
            mesh=mesh_codes(row.get("mesh", "").split(";")),
            split=splits.get(uid),
            patient=row.get("patient") or None,
        )
