"""The draft as a PDF, one page where it fits: on paper, in a viewer, and inside DICOM it is the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from app.interop.draft import Draft
from app.interop.page import names
from app.interop.page.films import Films, pictures_of
from app.interop.page.findings_table import FindingsTable
from app.interop.page.frame import FOOT, HEAD, draw_frame
from app.interop.page.style import (
    BOLD,
    CAUTION,
    CAUTION_PALE,
    GREY,
    INK,
    MARGIN,
    PAGE,
    PALE,
    REGULAR,
    RULE,
    WIDTH,
    register_fonts,
)
from app.interop.source import Source, iso_date

# Size of the text and height of the images, in points: the first that fits a page. What is far from it is spread.
_FITS = ((10.5, 118 * mm), (10.0, 96 * mm), (9.0, 80 * mm), (8.0, 66 * mm))
_SPREAD, _HOPELESS = (9.0, 96 * mm), 2
# How much of the width one image has, and several.
_ONE, _SEVERAL = 0.52, 0.6


def make_page(draft: Draft, source: Source | None) -> bytes:
    """The PDF. It names the patient where every image is DICOM, else nobody. The same draft gives the same bytes."""
    register_fonts()
    pictures = pictures_of(draft)
    for size, height in _FITS:
        story = _story(draft, source, pictures, size, height)
        pdf, pages = _build(story, draft, source, 1)
        if pages == 1:
            return pdf
        if pages > _HOPELESS:
            break
    size, height = _SPREAD
    _, pages = _build(_story(draft, source, pictures, size, height), draft, source, 1)
    return _build(_story(draft, source, pictures, size, height), draft, source, pages)[0]


def _build(story: Iterable[Flowable], draft: Draft, source: Source | None, pages: int) -> tuple[bytes, int]:
    """The file, which says it has so many pages, and how many it has."""
    file = io.BytesIO()
    made = BaseDocTemplate(
        file,
        pagesize=PAGE,
        invariant=1,
        title=f"AI draft: {draft.model}",
        author="xray-report",
        subject=draft.disclaimer,
        lang="en",
    )
    frame = Frame(
        MARGIN, MARGIN + FOOT, WIDTH, PAGE[1] - 2 * MARGIN - HEAD - FOOT,
        leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0,
    )  # fmt: skip

    def decorate(canvas: Any, _: object) -> None:
        draw_frame(canvas, draft, source, pages)

    made.addPageTemplates(PageTemplate("page", [frame], onPage=decorate))
    made.build(list(story))
    return file.getvalue(), made.page


def _story(
    draft: Draft, source: Source | None, pictures: Sequence[bytes], size: float, height: float
) -> Iterator[Flowable]:
    yield _title()
    yield _patient(source, draft)
    yield Spacer(0, 3 * mm)
    body = ParagraphStyle(
        "body", fontName=REGULAR, fontSize=size, leading=1.38 * size, textColor=INK, spaceAfter=2 * mm
    )
    heading = ParagraphStyle("heading", fontName=BOLD, fontSize=0.82 * size, leading=1.3 * size, textColor=GREY)
    for name, text in draft.sections.items():
        yield CondPageBreak(5 * size)
        yield Paragraph(_markup(name.upper()), heading)
        for paragraph in text.split("\n") if text.strip() else ["(nothing was written)"]:
            yield Paragraph(_markup(paragraph), body)
    if draft.measurements:
        said = "; ".join(f"{_words(one.name)} {one.value:.2f} (image {one.image + 1})" for one in draft.measurements)
        yield Paragraph("MEASUREMENTS", heading)
        yield Paragraph(_markup(said), body)
    if draft.warnings:
        yield _warnings(draft, 0.85 * size)
        yield Spacer(0, 3 * mm)
    yield _figures(draft, pictures, height)


def _figures(draft: Draft, pictures: Sequence[bytes], height: float) -> Flowable:
    share = _ONE if len(draft.images) == 1 else _SEVERAL
    films = Films(draft, pictures, share * WIDTH - 4 * mm, height)
    findings = FindingsTable(draft, (1 - share) * WIDTH, height)
    return Table(
        [[films, findings]],
        colWidths=[share * WIDTH, (1 - share) * WIDTH],
        style=TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                *((f"{side}PADDING", (0, 0), (-1, -1), 0) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")),
            ]
        ),
    )


def _title() -> Flowable:
    style = ParagraphStyle("title", fontName=BOLD, fontSize=15, leading=19, textColor=INK, spaceAfter=1.5 * mm)
    return Paragraph("Chest X-ray: draft report", style)


def _patient(source: Source | None, draft: Draft) -> Flowable:
    """Who it is about, or that nobody is named."""
    if source is None:
        kinds = " and ".join(sorted({image.format for image in draft.images}))
        text = f"No patient is named: the images came as {kinds}. Below each is its size and the start of its SHA-256."
        return Paragraph(text, ParagraphStyle("none", fontName=REGULAR, fontSize=8, leading=11, textColor=GREY))
    name, whole = names.person(source.patient_name)
    cells = {
        "Patient": name or "(no name)",
        "Patient ID": names.drawable(source.patient_id)[0],
        "Born": iso_date(source.birth_date),
        "Study date": iso_date(source.study_date),
        "Accession": names.drawable(source.accession)[0],
    }
    label = ParagraphStyle("label", fontName=REGULAR, fontSize=6.5, leading=8.5, textColor=GREY)
    value = ParagraphStyle("value", fontName=BOLD, fontSize=9, leading=11.5, textColor=INK)
    row = [[Paragraph(name, label), Paragraph(escape(text or "–"), value)] for name, text in cells.items()]
    if not whole:
        note = "Some characters of the name cannot be drawn here: go by the ID."
        row[0].append(Paragraph(note, ParagraphStyle("note", parent=label, textColor=CAUTION)))
    shares = (0.34, 0.22, 0.13, 0.13, 0.18)
    return Table(
        [row],
        colWidths=[share * WIDTH for share in shares],
        style=TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("BOX", (0, 0), (-1, -1), 0.6, RULE),
                ("BACKGROUND", (0, 0), (-1, -1), PALE),
                ("LEFTPADDING", (0, 0), (-1, -1), 5),
                ("RIGHTPADDING", (0, 0), (-1, -1), 3),
                ("TOPPADDING", (0, 0), (-1, -1), 3),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
            ]
        ),
    )


def _warnings(draft: Draft, size: float) -> Flowable:
    """One row each, so that many of them break over pages."""
    style = ParagraphStyle("warning", fontName=REGULAR, fontSize=size, leading=1.35 * size, textColor=INK)
    return Table(
        [[Paragraph(f'<font name="{BOLD}">Warning</font>&nbsp; {_markup(text)}', style)] for text in draft.warnings],
        colWidths=[WIDTH],
        style=TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, -1), CAUTION_PALE),
                ("LINEBEFORE", (0, 0), (0, -1), 2.5, CAUTION),
                ("LEFTPADDING", (0, 0), (-1, -1), 7),
                ("TOPPADDING", (0, 0), (-1, -1), 1.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
            ]
        ),
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _markup(text: str) -> str:
    """Plain text for a Paragraph, which reads markup."""
    return escape(names.drawable(text)[0])
