"""What stands on every page: that it is a draft, whose, of which model, and which page of how many."""

from __future__ import annotations

from typing import Any

from reportlab.lib.colors import Color, white
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth

from app.interop.draft import LABELS_NOTE, Draft
from app.interop.page import names
from app.interop.page.style import ALARM, BOLD, GREY, MARGIN, PAGE, REGULAR, WIDTH
from app.interop.source import Source

NOTICE = "AI DRAFT · RESEARCH USE ONLY · NOT FOR CLINICAL USE"
HEAD, FOOT = 11 * mm, 15 * mm
_BAND = 7 * mm


def draw_frame(canvas: Any, draft: Draft, source: Source | None, pages: int) -> None:
    """Behind the text of one page: bands above and below, a watermark, and the small print."""
    number = canvas.getPageNumber()
    _watermark(canvas)
    _band(canvas, PAGE[1] - MARGIN - _BAND)
    _band(canvas, MARGIN)
    canvas.setFillColor(GREY)
    if number > 1 and source:
        canvas.setFont(BOLD, 7)
        canvas.drawString(MARGIN, PAGE[1] - MARGIN - HEAD + 4, f"Patient ID {names.drawable(source.patient_id)[0]}")
    about = (
        f"Model {draft.model}, SHA-256 {draft.model_sha256[:16]}, operating point {draft.options['operating_point']}"
    )
    made = f"Made {draft.created:%Y-%m-%d %H:%M:%S} UTC, report {draft.id}, page {number} of {pages}"
    y = MARGIN + _BAND + 3
    for text in (LABELS_NOTE, made, about):
        size = min(6.3, 6.3 * WIDTH / stringWidth(text, REGULAR, 6.3))
        canvas.setFont(REGULAR, size)
        canvas.drawString(MARGIN, y, text)
        y += 8


def _band(canvas: Any, y: float) -> None:
    canvas.setFillColor(ALARM)
    canvas.rect(MARGIN, y, WIDTH, _BAND, stroke=0, fill=1)
    canvas.setFillColor(white)
    canvas.setFont(BOLD, 11.5)
    canvas.drawCentredString(PAGE[0] / 2, y + _BAND / 2 - 4.2, NOTICE)


def _watermark(canvas: Any) -> None:
    canvas.saveState()
    canvas.setFillColor(Color(0.64, 0.05, 0.15, alpha=0.06))
    canvas.setFont(BOLD, 88)
    canvas.translate(PAGE[0] / 2, PAGE[1] / 2)
    canvas.rotate(52)
    canvas.drawCentredString(0, -30, "AI DRAFT")
    canvas.restoreState()
