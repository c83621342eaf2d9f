"""The files that the circulating copies of the Indiana University chest X-ray collection share.

Demner-Fushman et al., "Preparing a collection of radiology examinations for distribution and retrieval", JAMIA 2016.
A study goes by its number, the `1` in `CXR1`, `CXR1_1_IM-0001` and `1_IM-0001-4001.dcm.png`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_training.data.collection import ProblemLog
from model_training.data.files import UnreadableFileError, read_json
from model_training.data.readers.tables import is_text, parse_split, parse_view, read_rows
from model_training.data.study import Split, View

REPORTS = "indiana_reports.csv"
PROJECTIONS = "indiana_projections.csv"
ANNOTATION = "annotation.json"
SPLIT = "split.csv"

# Studies held back as the real-world check: those whose images circulate as samples. Never trained on or selected by.
HELD_BACK = frozenset(
    [
        "7", "25", "54", "168", "169", "171", "172", "173", "174", "176", "179", "303", "1000", "1001", "1900",
    ]
)  # fmt: skip

# `CXR1_1_IM-0001` repeats the number, as no other study does.
_NAME = re.compile(r"(?:CXR)?(?P<uid>\d+)(?:_\d+)?(?:_(?P<image>IM-[\d-]+))?(?:\.\w+)*")


def uid_of(name: str) -> str:
    """The study's number in the name of a study or an image; any other name as it is."""
    match = _NAME.fullmatch(name.strip())
    return match["uid"] if match else name.strip()


def spellings(name: str) -> tuple[str, ...]:
    """File names that one image goes by: as given, as in the CSV pair, as in Open-i's archive."""
    match = _NAME.fullmatch(name)
    if not match or not match["image"]:
        return (name,)
    uid, image = match["uid"], match["image"]
    stems = f"CXR{uid}_{image}", f"CXR{uid}_1_{image}"
    return (name, f"{uid}_{image}.dcm.png", *(f"{stem}{suffix}" for stem in stems for suffix in (".png", ".jpg")))


def image_key(name: str) -> tuple[str, str]:
    """Equal for all spellings of one image."""
    match = _NAME.fullmatch(name)
    return (match["uid"], match["image"] or "") if match else ("", name)


def mesh_codes(codes: list[str]) -> tuple[str, ...]:
    """Codes without blanks and without the remark that nobody coded the study, which is not the code `normal`."""
    return tuple(code.strip() for code in codes if code.strip() and code.strip().lower() != "no indexing")


def read_reports(root: Path, log: ProblemLog) -> dict[str, dict[str, str]]:
    """Rows of the table of reports by study; the first of a repeated study is kept."""
    rows: dict[str, dict[str, str]] = {}
    for row in read_rows(root / REPORTS, ("uid", "findings", "impression"), log):
        uid = uid_of(row["uid"])
        if uid in rows:
            log.add("duplicate-id", uid)
        else:
            rows[uid] = row
    return rows


def read_projections(root: Path, log: ProblemLog) -> dict[str, dict[str, View | None]]:
    """Images and their views by study."""
    images: defaultdict[str, dict[str, View | None]] = defaultdict(dict)
    for row in read_rows(root / PROJECTIONS, ("uid", "filename"), log):
        images[uid_of(row["uid"])][row["filename"]] = parse_view(row.get("projection"), row["filename"], log)
    return dict(images)


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of R2Gen's annotation."""

    id: str
    report: str
    image_paths: tuple[str, ...]
    split: Split | None
    patient: str | None


def read_annotation(path: Path, log: ProblemLog) -> Iterator[Item]:
    """Entries of R2Gen's `annotation.json`, left out and noted where `id` or `report` lack.

    An entry's own split counts, not the list it stands in: one circulating copy calls the test list four spaces.
    Raises ValueError when the file is not such an annotation.
    """
    lists = read_json(path)
    if not isinstance(lists, dict) or not all(isinstance(items, list) for items in lists.values()):
        raise UnreadableFileError(f"{path}: not R2Gen's annotation, an object of lists, one a split")
    for name, items in lists.items():
        for i, item in enumerate(items):
            if entry := _item(item, name, log):
                yield entry
            else:
                log.add("unreadable-row", f"{path.name}:{name.strip()}[{i}]")


def _item(item: Any, list_name: str, log: ProblemLog) -> Item | None:
    if not isinstance(item, dict) or not is_text(item.get("report")) or not (name := _name(item.get("id"))):
        return None
    paths = item.get("image_path") or []
    if not isinstance(paths, list) or not all(map(is_text, paths)):
        return None
    split = parse_split(_name(item.get("split")) or list_name, name, log)
    patient = item.get("subject_id")  # MIMIC's annotation has it, Indiana's has not
    return Item(name, item["report"], tuple(paths), split, _name(patient) or None)


def _name(value: Any) -> str:
    """What may be the name of a study, a patient or a split, text or a whole number, as text; "" for all else."""
    number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if number or is_text(value) else ""


def read_split(root: Path, log: ProblemLog) -> tuple[dict[str, Split | None], str]:
    """Split by study, and the file it is from: `split.csv`, else R2Gen's annotation, else none."""
    entries: Iterator[tuple[str, Split | None]]
    if (root / SPLIT).is_file():
        origin, rows = SPLIT, read_rows(root / SPLIT, ("uid", "split"), log)
        entries = ((row["uid"], parse_split(row["split"], row["uid"], log)) for row in rows)
    elif (root / ANNOTATION).is_file():
        origin, entries = ANNOTATION, ((item.id, item.split) for item in read_annotation(root / ANNOTATION, log))
    else:
        return {}, f"{SPLIT} or {ANNOTATION}, which are not there"
    splits: dict[str, Split | None] = {}
    for name, split in entries:
        if splits.setdefault(uid_of(name), split) != split:
            log.add("conflicting-split", uid_of(name))
    return splits, origin


def note_strange_splits(splits: dict[str, Split | None], studies: Container[str], log: ProblemLog) -> None:
    """Notes entries of the split for studies that are not there."""
    for uid in splits:
        if uid not in studies:
            log.add("split-of-unknown-study", uid)
