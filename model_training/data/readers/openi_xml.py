"""The Indiana collection as Open-i gives it: one XML file a study, images in a folder beside.

Folder: `ecgen-radiology/1.xml` (alone or below `NLMCXR_reports/` or `reports/`) and
`NLMCXR_png/CXR1_1_IM-0001-3001.png`. The XML states no views: they are joined from `indiana_projections.csv` where that
lies beside, else unknown. The split is from `split.csv` or R2Gen's `annotation.json` beside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DTDForbidden
from defusedxml.ElementTree import fromstring

from model_training.data.collection import Collection, ProblemLog, collect
from model_training.data.readers.indiana import (
    PROJECTIONS,
    image_key,
    mesh_codes,
    note_strange_splits,
    read_projections,
    read_split,
    spellings,
    uid_of,
)
from model_training.data.readers.tables import ImageFolder, section
from model_training.data.study import Split, Study, View

LAYOUT = "openi_xml"
NEEDS = "ecgen-radiology/*.xml"
MAX_BYTES = 1 << 20  # real files have about 6 kB

_FOLDERS = ("ecgen-radiology", "NLMCXR_reports/ecgen-radiology", "reports/ecgen-radiology", ".")


def detect(root: Path) -> bool:
    """Whether the folder holds this layout."""
    return bool(_files(root))


def read(root: Path) -> Collection:
    """Reads the folder. Raises OSError or ValueError when there are no files or a table beside is another table."""
    log = ProblemLog()
    views: dict[tuple[str, str], View | None] = {}
    if (root / PROJECTIONS).is_file():
        named = (images.items() for images in read_projections(root, log).values())
        views = {image_key(name): view for items in named for name, view in items}
    splits, origin = read_split(root, log)
    studies = list(_studies(root, views, splits, log))
    note_strange_splits(splits, {study.id for study in studies}, log)
    return collect(root, LAYOUT, studies, log, origin, [f"views {f'from {PROJECTIONS}' if views else 'unknown'}"])


def parse_xml(data: bytes) -> Element:
    """The root element of a document without a document type, the only place that could declare entities.

    Raises ValueError for a document with one, above `MAX_BYTES`, not well-formed, or in an unknown encoding.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    try:
        root: Element = fromstring(data, forbid_dtd=True)
    except DTDForbidden as error:
        raise ValueError("has a document type") from error
    except (ParseError, LookupError, ValueError) as error:  # LookupError and ValueError for strange encodings
        raise ValueError(f"not well-formed: {error}") from error
    return root


def _files(root: Path) -> list[Path]:
    """The XML files in the order of their numbers."""
    for folder in _FOLDERS:
        if files := list((root / folder).glob("*.xml")):
            return sorted(files, key=_number)
    return []


def _number(path: Path) -> tuple[list[int], str]:
    return [int(digits) for digits in re.findall(r"\d+", path.stem)], path.stem


def _studies(
    root: Path, views: dict[tuple[str, str], View | None], splits: dict[str, Split | None], log: ProblemLog
) -> Iterator[Study]:
    folder = ImageFolder(root)
    for path in _files(root):
        try:
            report = parse_xml(path.read_bytes())
        except (OSError, ValueError) as error:
            log.add("unreadable-file", f"{path.name} ({error})")
            continue
        uid_element = report.find("uId")
        uid = uid_of(uid_element.get("id", "") if uid_element is not None else "") or path.stem
        names = [image.get("id", "") for image in report.iter("parentImage")]
        yield Study(
            id=uid,
            images=folder.images(((name, views.get(image_key(name))) for name in names if name), log, spellings),
            findings=_section(report, "FINDINGS"),
            impression=_section(report, "IMPRESSION"),
            indication=_section(report, "INDICATION"),
            # `automatic` codes are a program's, `major` ones a person's
            mesh=mesh_codes([code.text or "" for code in report.iter("major")]),
            split=splits.get(uid),
        )


def _section(report: Element, label: str) -> str:
    texts = (e for e in report.iter("AbstractText") if e.get("Label", "").strip().upper() == label)
    return section(" ".join("".join(element.itertext()) for element in texts))
