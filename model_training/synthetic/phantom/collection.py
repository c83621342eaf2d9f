"""Phantom studies one by one, and whole collections of them in the Indiana layout."""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model_training.data.readers.boxes import BOXES, COLUMNS
from model_training.data.readers.indiana import PROJECTIONS, REPORTS, SPLIT
from model_training.data.readers.tables import MASKS
from model_training.data.study import View
from model_training.progress import Progress
from model_training.synthetic.phantom.body import Phantom, sample_phantom
from model_training.synthetic.phantom.boxes import boxes
from model_training.synthetic.phantom.geometry import Array
from model_training.synthetic.phantom.render import chest_mask, render
from model_training.synthetic.phantom.text import indication, mesh_codes, write_report

ImageFormat = Literal["png", "jpeg"]
_SUFFIX: dict[ImageFormat, str] = {"png": "png", "jpeg": "jpg"}
_NUMBER: dict[View, str] = {"frontal": "1001", "lateral": "2001"}
_SHEET_STUDIES = 24
_IMAGES, _MASKS = "images", "masks"  # folders
_MASK_SIZE = 96  # pixels a side: finer than the maps that are fitted to them


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the tables say of one study: its report, its images, the boxes in them and the mask of the frontal one."""

    report: list[str]
    projections: list[list[str]]
    boxes: list[list[str]]
    masks: list[list[str]]


@dataclass(frozen=True, eq=False)
class PhantomStudy:
    """One phantom examination: its views f32[size, size] in 0..1, its report and its codes."""

    phantom: Phantom
    images: dict[View, Array]
    findings: str
    impression: str
    indication: str
    mesh: tuple[str, ...]


def generate_study(seed: int, index: int, size: int = 512, frontal_only_share: float = 0.1) -> PhantomStudy:
    """Study `index` of the endless collection `seed`, whatever was generated before it.

    `size` is the side of the images in pixels; the body and the report do not depend on it.
    """
    body, words = (np.random.default_rng(s) for s in np.random.SeedSequence((seed, index)).spawn(2))
    phantom = sample_phantom(body, frontal_only_share)
    views: tuple[View, ...] = ("frontal", "lateral") if phantom.lateral else ("frontal",)
    findings, impression = write_report(phantom, words)
    images = {view: render(phantom, view, size) for view in views}
    return PhantomStudy(phantom, images, findings, impression, indication(words), mesh_codes(phantom))


def encode(image: Array, bits: int = 8, image_format: ImageFormat = "png") -> bytes:
    """A file of an image f32[H, W] in 0..1: 8 or 16 bit grey, PNG or JPEG. ValueError for 16-bit JPEG."""
    _check(bits, image_format)
    levels = (1 << bits) - 1
    pixels = np.round(np.clip(image, 0, 1) * levels).astype(np.uint8 if bits == 8 else np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **({"quality": 92} if image_format == "jpeg" else {}))
    return buffer.getvalue()


def _check(bits: int, image_format: ImageFormat) -> None:
    if bits not in (8, 16) or image_format not in _SUFFIX:
        raise ValueError(f"images are 8 or 16 bit, png or jpeg, not {bits} bit {image_format}")
    if bits == 16 and image_format == "jpeg":
        raise ValueError("JPEG holds 8 bits; take PNG for 16")


def _write_study(folder: Path, seed: int, size: int, bits: int, image_format: ImageFormat, index: int) -> _Rows:
    """Writes the images of one study and a mask of the frontal one; returns its rows of the tables."""
    study, uid = generate_study(seed, index, size), str(index + 1)
    problems = ";".join(dict.fromkeys(code.split("/")[0] for code in study.mesh))
    kind = "Xray Chest PA and Lateral" if len(study.images) > 1 else "Xray Chest PA"
    report = [uid, ";".join(study.mesh), problems, kind, study.indication, "None.", study.findings, study.impression]
    rows = _Rows(report, [], [], [])
    for view, image in study.images.items():
        name = f"{uid}_IM-{index + 1:04d}-{_NUMBER[view]}.{_SUFFIX[image_format]}"
        (folder / _IMAGES / name).write_bytes(encode(image, bits, image_format))
        rows.projections.append([uid, name, view.capitalize()])
        for box in boxes(study.phantom, view):
            numbers = (f"{number:.4f}" for number in (box.x, box.y, box.width, box.height))
            rows.boxes.append([name, box.finding, *numbers])
        if view == "frontal":
            mask = f"{_MASKS}/{uid}.png"
            Image.fromarray(chest_mask(study.phantom, view, _MASK_SIZE)).save(folder / mask)
            rows.masks.append([uid, f"{_IMAGES}/{name}", mask])
    return rows


def write_collection(
    out: Path,
    studies: int,
    seed: int,
    size: int,
    bits: int = 8,
    image_format: ImageFormat = "png",
    processes: int | None = None,
    progress: bool = True,
    val: float = 0.1,
    test: float = 0.1,
) -> None:
    """Writes a folder in the Indiana CSV-pair layout with a `split.csv`, with a `boxes.csv` of where findings lie and
    with masks of lungs and heart for the command `anatomy`; the same arguments write the same files.

    `val` and `test` are the shares of the studies in those splits. `processes` defaults to one a core.
    Raises ValueError for impossible image kinds or shares, FileExistsError where the folder already holds something.
    """
    _check(bits, image_format)
    if val < 0 or test < 0 or val + test > 1:
        raise ValueError(f"shares of val and test must be at least 0 and at most 1 together, not {val} and {test}")
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty")
    for folder in (_IMAGES, _MASKS):
        (out / folder).mkdir(parents=True)
    write = partial(_write_study, out, seed, size, bits, image_format)
    workers = min(processes or os.cpu_count() or 1, max(studies, 1))
    rows: list[_Rows] = []
    with ExitStack() as stack, Progress("draw", studies, "phantom", shown=progress) as shown:
        written: Iterable[_Rows] = map(write, range(studies))
        if workers > 1:
            pool = stack.enter_context(get_context("spawn").Pool(workers))
            written = pool.imap(write, range(studies), chunksize=4)
        for study in written:
            rows.append(study)
            shown.advance()
    names = ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression")
    _write_table(out / REPORTS, names, (study.report for study in rows))
    projections = (row for study in rows for row in study.projections)
    _write_table(out / PROJECTIONS, ("uid", "filename", "projection"), projections)
    _write_table(out / BOXES, COLUMNS, (row for study in rows for row in study.boxes))
    splits = dict(_split(studies, seed, val, test))
    _write_table(out / SPLIT, ("uid", "split"), splits.items())
    masks = ([file, mask, uid, splits[uid]] for study in rows for uid, file, mask in study.masks)
    _write_table(out / MASKS, ("file", "mask", "patient", "split"), masks)


def _write_table(path: Path, names: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(names)
        table.writerows(rows)


def _split(studies: int, seed: int, val: float, test: float) -> Iterator[tuple[str, str]]:
    """Splits of exactly the given shares, by uid, drawn with the seed."""
    held = {"val": round(val * studies), "test": round(test * studies)}
    order = np.random.default_rng(seed).permutation(studies).tolist()
    names = ["val"] * held["val"] + ["test"] * held["test"]
    split = dict(zip(order, names, strict=False))
    return ((str(i + 1), split.get(i, "train")) for i in range(studies))


def contact_sheet(seed: int, studies: int, size: int = 240, across: int = 4) -> Image.Image:
    """The first studies of a collection side by side, each with its codes beneath."""
    line = 16
    rows = -(-studies // across)
    sheet = Image.new("L", (across * 2 * size, rows * (size + line)), 0)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index in range(studies):
        study = generate_study(seed, index, size)
        x, y = index % across * 2 * size, index // across * (size + line)
        for place, image in enumerate(study.images.values()):
            sheet.paste(Image.fromarray((image * 255).astype(np.uint8)), (x + place * size, y))
        draw.text((x + 4, y + size + 1), "; ".join(study.mesh), fill=255, font=font)
    return sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training phantom`."""
    parser.add_argument("--out", type=Path, required=True, help="folder to write, new or empty")
    parser.add_argument("--studies", type=int, default=4000, help="how many studies (default: 4000)")
    parser.add_argument("--seed", type=int, default=0, help="which collection (default: 0)")
    parser.add_argument("--size", type=int, default=160, help="image side in pixels (default: 160)")
    parser.add_argument("--bits", type=int, default=8, choices=(8, 16), help="bits a pixel (default: 8)")
    parser.add_argument("--format", default="png", choices=tuple(_SUFFIX), help="image files (default: png)")
    parser.add_argument("--val", type=float, default=0.1, help="share of the validation split (default: 0.1)")
    parser.add_argument("--test", type=float, default=0.1, help="share of the test split (default: 0.1)")
    parser.add_argument("--processes", type=int, help="worker processes (default: one a core)")
    parser.add_argument("--contact-sheet", type=Path, metavar="FILE", help="also a picture of the first studies")


def run(args: argparse.Namespace) -> int:
    """Writes the collection; returns the exit status."""
    write_collection(
        args.out, args.studies, args.seed, args.size, args.bits, args.format, args.processes,
        val=args.val, test=args.test,
    )  # fmt: skip
    if args.contact_sheet:
        contact_sheet(args.seed, min(args.studies, _SHEET_STUDIES)).save(args.contact_sheet)
    print(f"{args.studies} studies in {args.out}")
    return 0
