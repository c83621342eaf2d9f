"""The layout of R2Gen: `annotation.json` and one folder of numbered images a study.

Chen et al., "Generating Radiology Reports via Memory-driven Transformer", EMNLP 2020. Entries hold `id`, `report` (the
findings), `image_path` (`CXR2384_IM-0942/0.png`, below `images/`) and `split`. The rest is joined by study number from
the CSV pair where that lies beside it: impression, indication, MeSH codes, and views as far as they follow (all images
of a study with frontal views only are frontal).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from model_training.data.collection import Collection, ProblemLog, collect
from model_training.data.readers.indiana import (
    ANNOTATION,
    PROJECTIONS,
    REPORTS,
    Item,
    mesh_codes,
    read_annotation,
    read_projections,
    read_reports,
    uid_of,
)
from model_training.data.readers.tables import ImageFolder, section
from model_training.data.study import Study, View

LAYOUT = "r2gen_json"
NEEDS = ANNOTATION

# The annotation states no views; R2Gen feeds 0 and 1 as frontal and lateral.
_CONVENTION: dict[str, View] = {"0": "frontal", "1": "lateral"}


def detect(root: Path) -> bool:
    """Whether the folder holds this layout."""
    return (root / ANNOTATION).is_file()


def read(root: Path) -> Collection:
    """Reads the folder. Raises OSError or ValueError when the annotation is missing or is another file."""
    log = ProblemLog()
    reports = read_reports(root, log) if (root / REPORTS).is_file() else {}
    views = read_projections(root, log) if (root / PROJECTIONS).is_file() else {}
    notes = ["views by R2Gen's convention: image 0 frontal, image 1 lateral"]
    if views:
        notes[0] += f", unless {PROJECTIONS} knows one view only for the study"
    if reports:
        notes.append(f"impression, indication and MeSH codes joined from {REPORTS}")
    return collect(root, LAYOUT, _studies(root, reports, views, log), log, ANNOTATION, notes)


def _studies(
    root: Path, reports: dict[str, dict[str, str]], views: dict[str, dict[str, View | None]], log: ProblemLog
) -> Iterator[Study]:
    folder = ImageFolder(root)
    for item in read_annotation(root / ANNOTATION, log):
        uid = uid_of(item.id)
        row = reports.get(uid, {})
        findings = section(item.report)
        if row and section(row["findings"]) != findings:
            log.add("report-differs", uid)
        yield Study(
            id=uid,
            images=folder.images(_views(item, set(views.get(uid, {}).values())), log),
            findings=findings,
            impression=section(row.get("impression")),
            indication=section(row.get("indication")),
            mesh=mesh_codes(row.get("mesh", "").split(";")),
            split=item.split,
            patient=item.patient,
        )


def _views(item: Item, known: set[View | None]) -> Iterator[tuple[str, View | None]]:
    """The images of an entry with the one view known for all, else the view of the convention."""
    for path in item.image_paths:
        yield path, next(iter(known)) if len(known) == 1 else _CONVENTION.get(PurePosixPath(path).stem)
