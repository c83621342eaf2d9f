"""The page: what stands on it, that it fits, and whom it names."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.interop.draft import Finding
from app.interop.page import names
from app.interop.page.films import MARK
from app.interop.page.frame import NOTICE
from app.interop.page.page import make_page
from tests.app.interop.drafts import draft, image, source

POINTS = 72 / 25.4  # a millimetre


def tool(name: str, *arguments: str, content: bytes) -> str:
    """What a tool of Poppler says of a PDF."""
    if not shutil.which(name):
        pytest.skip(f"no {name} on this machine")
    done = subprocess.run([name, *arguments], input=content, capture_output=True, check=True)  # noqa: S603  # found above
    assert not done.stderr
    return done.stdout.decode()


def text_of(content: bytes) -> str:
    """Its words, in the order read, with one space between them."""
    return re.sub(r"\s+", " ", tool("pdftotext", "-layout", "-", "-", content=content))


def pages(content: bytes) -> int:
    return int(re.findall(r"Pages: +(\d+)", tool("pdfinfo", "-", content=content))[0])


def rendered(content: bytes, folder: Path) -> list[Image.Image]:
    """The pages as pictures, two pixels a millimetre."""
    (folder / "page.pdf").write_bytes(content)
    tool("pdftoppm", "-r", "50.8", "-png", str(folder / "page.pdf"), str(folder / "page"), content=b"")
    return [Image.open(path).convert("RGB") for path in sorted(folder.glob("page-*.png"))]


def test_page_of_dicom() -> None:
    """Patient, text, findings with probability and threshold, measurements, warnings and model are on it."""
    one = draft(image(1), present=("effusion", "mass"), warnings=["The report does not mention <nodule> & more."])
    text = text_of(make_page(one, source()))
    for part in (
        *("PHANTOM, 0001", "PHANTOM-ID-0001", "1871-02-02", "1907-02-02", "ACCESSION-0001"),
        *one.sections.values(),
        "The report does not mention <nodule> & more.",
        "cardiothoracic ratio 0.47 (image 1)",
        "phantom-model 1.2.3",
        "operating point balanced",
        "left, lower zone",
        "page 1 of 1",
        "Nobody has verified this draft.",
    ):
        assert part in text
    for finding in one.findings:
        assert finding.name.replace("_", " ") in text
        assert f"{finding.probability:.1%} {finding.threshold:.1%}" in text
    assert text.count(NOTICE) == 2


def test_page_of_pictures() -> None:
    """A page of pictures names nobody, and says so."""
    picture = replace(image(), format="PNG")
    text = text_of(make_page(draft(picture), None))
    assert "No patient is named: the images came as PNG." in text
    assert not re.search("PHANTOM|ACCESSION|1907|1871", text)
    assert picture.sha256[:12] in text


def test_paper() -> None:
    """The page is no wider than A4 and no higher than Letter: either prints it as it is."""
    said = tool("pdfinfo", "-", content=make_page(draft(), None))
    width, height = map(float, re.findall(r"Page size: +([\d.]+) x ([\d.]+)", said)[0])
    assert width == pytest.approx(210 * POINTS, abs=0.1)
    assert height <= 279.4 * POINTS


def test_same_draft_same_bytes() -> None:
    """Nothing but the draft is in the bytes."""
    assert make_page(draft(), source()) == make_page(draft(), source())


@pytest.mark.parametrize(
    "shapes", [[(90, 30)], [(20, 200)], [(156, 128)] * 2, [(156, 128), (100, 160), (300, 40), (40, 300)]]
)
def test_any_images_fit_one_page(shapes: list[tuple[int, int]], tmp_path: Path) -> None:
    """One to four images of any shape are on one page, within its margins."""
    pictures = [image(i, shape=shape, view="lateral" if i % 2 == 0 else "frontal") for i, shape in enumerate(shapes, 1)]
    content = make_page(draft(*pictures, warnings=["One.", "Two."]), source(len(shapes)))
    (page,) = rendered(content, tmp_path)
    text = text_of(content)
    for i in range(1, len(shapes) + 1):
        assert f"Image {i}: " in text
    assert_margins_empty(page)


def assert_margins_empty(page: Image.Image) -> None:
    """Nothing is printed within 11 of the 12 millimetres of the margin."""
    pixels = np.asarray(page)
    edge = 22
    for side in (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]):
        assert side.min() == 255


def test_long_text_flows() -> None:
    """A text that no page has room for goes on over pages, each a draft's and the patient's, and not a word is lost."""
    sentences = [f"Sentence {i} says that the lungs are clear." for i in range(400)]
    content = make_page(
        draft(
            sections={"findings": " ".join(sentences), "impression": "Last."},
            warnings=[f"Doubt {i}." for i in range(40)],
        ),
        source(),
    )
    text = text_of(content)
    count = pages(content)
    assert count > 1
    assert text.count(NOTICE) == 2 * count
    assert text.count("PHANTOM-ID-0001") == count
    assert f"page {count} of {count}" in text
    words = set(text.split())
    assert {str(i) for i in range(400)} <= words
    assert all(f"Doubt {i}." in text for i in range(40))
    assert "emphysema" in text


def test_moderate_text_is_set_smaller() -> None:
    """A text somewhat too long for the largest type still fits one page."""
    content = make_page(draft(sections={"findings": "The lungs are clear. " * 100, "impression": "Clear."}), source())
    assert pages(content) == 1


def test_boxes_are_drawn(tmp_path: Path) -> None:
    """A box lies over the image where the finding is, in the colour of its number."""
    (plain,) = rendered(make_page(draft(present=()), source()), tmp_path)
    (boxed,) = rendered(make_page(draft(present=("effusion",)), source()), tmp_path)
    orange = (np.abs(np.asarray(boxed).astype(int) - (0xE6, 0x9F, 0x00)).sum(axis=-1) < 60)[:, : boxed.width // 2]
    assert not (np.abs(np.asarray(plain).astype(int) - (0xE6, 0x9F, 0x00)).sum(axis=-1) < 60).any()
    rows, columns = np.nonzero(orange)
    # The picture begins at the left margin, is half the page wide, and the box spans .59 to .87 of its width.
    assert (columns.min() - 24) / (columns.max() - 24) == pytest.approx(1200 / 1790, abs=0.03)
    assert rows.max() - rows.min() > 20


def test_images_bear_the_mark(tmp_path: Path) -> None:
    """The mark is in the pixels of each image, below what it shows, so that it is copied with it."""
    if not shutil.which("pdfimages"):
        pytest.skip("no pdfimages on this machine")
    path = tmp_path / "page.pdf"
    path.write_bytes(make_page(draft(image(1), image(2)), source(2)))
    subprocess.run(["pdfimages", "-j", str(path), str(tmp_path / "film")], check=True)  # noqa: S603, S607  # found above
    films = [Image.open(one) for one in sorted(tmp_path.glob("film-*.jpg"))]
    assert [film.size for film in films] == [(128, 156 + 8)] * 2
    for film in films:
        band = np.asarray(film)[158:]
        assert band[:, :2].max() < 60
        assert band.max() > 120
    assert "DRAFT" in MARK


@pytest.mark.parametrize("count", [0, 1, 60])
def test_any_number_of_findings(count: int) -> None:
    """None, few or many findings fit; of too many the unlikeliest are counted."""
    findings = tuple(Finding(f"finding {i}", i / 100, i > 50, 0.505) for i in range(count))
    content = make_page(replace(draft(), findings=findings), source())
    text = text_of(content)
    assert pages(content) == 1
    listed = sum(f"finding {i} " in text for i in range(count))
    left = re.search(r"and (\d+) less likely ones", text)
    assert listed + int(left[1] if left else 0) == count
    assert count < 60 or f"finding {count - 1} " in text


@pytest.mark.parametrize("text", ["<b>&amp;<", "<font color='x'>", "]]>", "%PDF\n(\\)", "x" * 900, "", " \n\n "])
def test_any_text_is_text(text: str) -> None:
    """Markup in texts and names is printed, not read, whatever it says."""
    one = draft(sections={"findings": text, "impression": text}, warnings=[text])
    said = text_of(make_page(one, replace(source(), patient_name=text[:64], patient_id=text[:64])))
    letters = "".join(text.split())
    assert letters[:10] in "".join(said.split())


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("PHANTOM^0001", "PHANTOM, 0001"),
        ("PHANTOM^A^B^Dr.^MD", "PHANTOM, Dr. A B MD"),
        ("ФАНТОМ^Ноль", "ФАНТОМ, Ноль"),
        ("Φάντασμα", "Φάντασμα"),
        ("PHANTOM^Taro=山田^太郎", "PHANTOM, Taro"),
        ("山田^太郎=PHANTOM^Taro", "PHANTOM, Taro"),
        ("פנטום^אחת", "תחא ,םוטנפ"),
        ("", ""),
    ],
)
def test_names(name: str, drawn: str) -> None:
    """A name is drawn in the first of its scripts that the fonts have, from right to left where it is written so."""
    assert names.person(name) == (drawn, True)


def test_numbers_are_never_turned() -> None:
    """In what is written from right to left a number keeps its order: it may be an identity."""
    assert names.drawable("אב 12-34")[0] == "12-34 בא"
    assert names.drawable("ID אב 12")[0] == "ID בא 12"


def test_arabic_is_joined() -> None:
    """Arabic letters take the form that their neighbours ask for, the last one leftmost."""
    drawn, whole = names.drawable("فان")
    assert whole
    assert drawn == "\ufee5\ufe8e\ufed3"


def test_names_that_cannot_be_drawn() -> None:
    """Characters that the fonts lack are squares, with the advice to go by the ID."""
    assert names.person("山田^太郎") == ("□□, □□", False)
    text = text_of(make_page(draft(), replace(source(), patient_name="山田^太郎")))
    assert "go by the ID" in text
    assert "PHANTOM-ID-0001" in text
