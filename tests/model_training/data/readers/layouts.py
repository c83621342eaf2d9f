"""A few studies, and writers of the source layouts, so that the same studies can be read through several of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from model_training.data import Study, StudyImage

CARDIOMEGALY = Study(
    "7",
    (StudyImage(Path("7_IM-2263-1001.dcm.png"), "frontal"), StudyImage(Path("7_IM-2263-2001.dcm.png"), "lateral")),
    findings='The heart is enlarged & "globular"; lungs < 5 l, clear.',
    impression="Cardiomegaly.",
    indication="Dyspnea",
    mesh=("Cardiomegaly/mild", "Pulmonary Disease, Chronic Obstructive"),
    split="train",
)
NORMAL = Study(
    "31",
    (StudyImage(Path("31_IM-1450-1001.dcm.png"), "frontal"), StudyImage(Path("31_IM-1450-2001.dcm.png"), "lateral")),
    findings="The lungs are clear.",
    impression="Normal chest.",
    mesh=("normal",),
    split="test",
)
UNCODED = replace(CARDIOMEGALY, id="112", images=(), impression="", mesh=(), split=None)
STUDIES = (CARDIOMEGALY, NORMAL, UNCODED)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def write_kaggle(root: Path, studies: Iterable[Study]) -> None:
    studies = list(studies)
    write_table(
        root / "indiana_reports.csv",
        ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression"),
        [
            (s.id, ";".join(s.mesh) or "No Indexing", "", "", s.indication, "None.", s.findings, s.impression)
            for s in studies
        ],
    )
    images = [
        (s.id, touch(root / "images" / i.path.name).name, (i.view or "").title()) for s in studies for i in s.images
    ]
    write_table(root / "indiana_projections.csv", ("uid", "filename", "projection"), images)
    write_table(root / "split.csv", ("uid", "split"), [(s.id, s.split) for s in studies if s.split])


def write_openi(root: Path, studies: Iterable[Study]) -> None:
    studies = list(studies)
    for study in studies:
        stems = ["CXR" + image.path.name.removesuffix(".dcm.png") for image in study.images]
        sections = {"COMPARISON": "None.", "INDICATION": study.indication, "FINDINGS": study.findings}
        sections["IMPRESSION"] = study.impression
        texts = "".join(
            f'<AbstractText Label="{name}">{escape(text)}</AbstractText>' for name, text in sections.items()
        )
        codes = "".join(f"<major>{escape(code)}</major>" for code in study.mesh or ("No Indexing",))
        parents = "".join(
            f"<parentImage id={quoteattr(stem)}><figureId>F{i}</figureId><caption>PA and lateral</caption>"
            f'<panel type="single"><url>/extract/{stem}.jpg</url></panel></parentImage>'
            for i, stem in enumerate(stems)
        )
        file = root / "ecgen-radiology" / f"{study.id}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f'<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR{study.id}"/><MedlineCitation><Article>'
            f"<Abstract>{texts}</Abstract></Article></MedlineCitation><MeSH>{codes}<automatic>hernia</automatic></MeSH>"
            f"{parents}</eCitation>",
            encoding="utf-8",
        )
        for stem in stems:
            touch(root / "NLMCXR_png" / f"{stem}.png")
    images = [(s.id, i.path.name, (i.view or "").title()) for s in studies for i in s.images]
    write_table(root / "indiana_projections.csv", ("uid", "filename", "projection"), images)
    write_table(root / "split.csv", ("uid", "split"), [(s.id, s.split) for s in studies if s.split])


def write_r2gen(root: Path, studies: Iterable[Study], test_key: str = "test") -> None:
    lists: dict[str, list[dict[str, object]]] = {}
    for study in studies:
        folder = f"CXR{study.id}_IM-0001"
        paths = [f"{folder}/{i}.png" for i in range(len(study.images))]
        item: dict[str, object] = {"id": folder, "report": study.findings, "image_path": paths, "split": study.split}
        lists.setdefault(test_key if study.split == "test" else str(study.split), []).append(item)
        for path in paths:
            touch(root / "images" / path)
    root.mkdir(parents=True, exist_ok=True)
    (root / "annotation.json").write_text(json.dumps(lists), encoding="utf-8")


def write_captions(root: Path, studies: Iterable[Study]) -> None:
    rows = [
        (
            touch(root / "images" / image.path.name).name,
            f"FINDINGS: {study.findings} IMPRESSION: {study.impression}",
            study.id,
            study.split or "",
            image.view or "",
        )
        for study in studies
        for image in study.images
    ]
    write_table(root / "captions.csv", ("image", "caption", "study", "split", "view"), rows)
