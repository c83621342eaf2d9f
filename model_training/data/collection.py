"""A collection of studies as read, and everything that was wrong with it, by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from model_training.data.study import Split, Study

SPLITS: tuple[Split, ...] = get_args(Split)
NONE, ALL = "none", "all"  # on the command line: the studies in no split, and those in any or none

ProblemKind = Literal[
    "unreadable-row",
    "unreadable-file",
    "unreadable-box",
    "unreadable-image",
    "undecodable-text",
    "duplicate-id",
    "missing-image",
    "image-without-report",
    "image-in-two-studies",
    "no-image",
    "empty-report",
    "report-differs",
    "conflicting-captions",
    "unknown-view",
    "unknown-label",
    "unknown-split",
    "conflicting-split",
    "split-of-unknown-study",
    "patient-in-two-splits",
]
PROBLEMS: dict[ProblemKind, str] = {
    "unreadable-row": "row or item that cannot be read, left out",
    "unreadable-file": "file that cannot be read, left out",
    "unreadable-box": "box that is not four numbers within the image, left out",
    "unreadable-image": "image that cannot be decoded; training and scoring refuse or leave it out",
    "undecodable-text": "row that is not UTF-8; the bytes in question became U+FFFD",
    "duplicate-id": "study id used again; the first is kept",
    "missing-image": "image named by the source, its file not in the folder",
    "image-without-report": "image of a study that has no report, left out",
    "image-in-two-studies": "image that belongs to more than one study",
    "no-image": "study without any image",
    "empty-report": "study with neither findings nor impression",
    "report-differs": "study whose report is not the one in the table beside it; the annotation's is kept",
    "conflicting-captions": "study whose images carry different captions; the first is kept",
    "unknown-view": "view that is neither frontal nor lateral, read as unknown",
    "unknown-label": "label that is not 1, 0 or blank, read as not labelled",
    "unknown-split": f"split that is none of {', '.join(SPLITS)}, read as none",
    "conflicting-split": "study given two different splits; the first counts",
    "split-of-unknown-study": "entry of the split for a study that is not there",
    "patient-in-two-splits": "patient whose studies lie in more than one split",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem and every study, image, row or patient that has it."""

    kind: ProblemKind
    ids: tuple[str, ...]

    def describe(self, limit: int = 5) -> str:
        """One line: count, kind, the first `limit` names, what it means."""
        more = f", and {len(self.ids) - limit:,} more" if len(self.ids) > limit else ""
        return f"{len(self.ids):,} {self.kind}: {', '.join(self.ids[:limit])}{more} ({PROBLEMS[self.kind]})"


class ProblemLog:
    """What a reader meets on its way."""

    def __init__(self) -> None:
        self._ids: dict[ProblemKind, dict[str, None]] = {kind: {} for kind in PROBLEMS}

    def add(self, kind: ProblemKind, name: str) -> None:
        """Notes that `name` has a problem of this kind; once is enough."""
        self._ids[kind][name] = None

    def problems(self) -> tuple[Problem, ...]:
        """Everything noted, in the order of `PROBLEMS`."""
        return tuple(Problem(kind, tuple(ids)) for kind, ids in self._ids.items() if ids)


@dataclass(frozen=True, slots=True)
class Collection:
    """All studies of one source; `notes` says what its numbers rest on, such as where views are from, and `split_from`
    where the split is from ("" where there is none)."""

    name: str
    layout: str
    studies: tuple[Study, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    split_from: str = ""

    def split(self, name: str | None, *, with_images: bool = False) -> tuple[Study, ...]:
        """The studies of one split, or those in none for None; `with_images` leaves out those without an image.

        Raises ValueError for a name that is no split.
        """
        if name is not None and name not in SPLITS:
            raise ValueError(f"unknown split {name!r}; splits are {', '.join(SPLITS)}")
        return tuple(s for s in self.studies if s.split == name and (s.images or not with_images))

    def studies_of(self, split: str, *, with_images: bool = False) -> tuple[Study, ...]:
        """As `split`, by what `--split` may say: a split, `none` or `all`."""
        if split == ALL:
            return tuple(study for study in self.studies if study.images or not with_images)
        return self.split(None if split == NONE else split, with_images=with_images)

    def origin(self, *splits: str) -> str:
        """On one line, which splits of what are used, and where they are from."""
        words = {ALL: "all studies, split", NONE: "studies in no split, split"}
        named = words.get(splits[0], " and ".join(splits) + (" splits" if len(splits) > 1 else " split"))
        return f"{self.name} ({self.layout}), {named} from {self.split_from or 'nowhere: it has no split'}"

    def problem(self, kind: ProblemKind) -> tuple[str, ...]:
        """Names that have this kind of problem, empty when none has."""
        return next((problem.ids for problem in self.problems if problem.kind == kind), ())


def with_problem(collection: Collection, kind: ProblemKind, names: Iterable[str]) -> Collection:
    """The same collection, with these names noted for a problem that its reader does not look for."""
    log = ProblemLog()
    for problem in collection.problems:
        for name in problem.ids:
            log.add(problem.kind, name)
    for name in names:
        log.add(kind, name)
    return replace(collection, problems=log.problems())


def collect(
    root: Path, layout: str, studies: Iterable[Study], log: ProblemLog, split_from: str, notes: Iterable[str] = ()
) -> Collection:
    """Makes the collection of what a reader yields, checked for what goes wrong in every layout.

    `split_from` names what the readers took the split from; where no study has one, the collection has none.
    """
    kept: dict[str, Study] = {}
    for study in studies:
        if study.id in kept:
            log.add("duplicate-id", study.id)
        else:
            kept[study.id] = study
    owner: dict[Path, str] = {}
    splits: defaultdict[str, set[Split]] = defaultdict(set)
    for study in kept.values():
        if not study.images:
            log.add("no-image", study.id)
        if not (study.findings or study.impression or study.labels):
            log.add("empty-report", study.id)
        for image in study.images:
            if owner.setdefault(image.path, study.id) != study.id:
                log.add("image-in-two-studies", str(image.path))
        if study.patient and study.split:
            splits[study.patient].add(study.split)
    for patient, its_splits in splits.items():
        if len(its_splits) > 1:
            log.add("patient-in-two-splits", patient)
    origin = split_from if any(study.split for study in kept.values()) else ""
    split_note = f"split from {origin}" if origin else f"no split{f': none in {split_from}' if split_from else ''}"
    said = (*notes, split_note)
    return Collection(root.resolve().name, layout, tuple(kept.values()), log.problems(), said, origin)
