"""Fonts, colours and measures of the page."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from reportlab.lib.colors import HexColor
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

FOLDER = Path(__file__).with_name("fonts")
REGULAR, BOLD = "DejaVuSans", "DejaVuSans-Bold"

# As wide as A4, as high as Letter: it is printed on either without scaling.
PAGE = (210 * mm, 279 * mm)
MARGIN = 12 * mm
WIDTH = PAGE[0] - 2 * MARGIN

INK, GREY, RULE, PALE = HexColor(0x1B1F24), HexColor(0x59636E), HexColor(0xC9D1D9), HexColor(0xF3F5F7)
ALARM, CAUTION, CAUTION_PALE = HexColor(0xA40E26), HexColor(0x9A6700), HexColor(0xFFF8E1)
PRESENT, ABSENT = HexColor(0xA40E26), HexColor(0x8C959F)
# Told apart by the colour-blind (Okabe and Ito, 2008), on films as dark as they are bright.
MARKERS = tuple(map(HexColor, (0xE69F00, 0x56B4E9, 0xF0E442, 0xCC79A7, 0x00B384, 0xFF7043, 0x9FA8FF)))


@cache
def register_fonts() -> frozenset[int]:
    """Makes the fonts known to reportlab, once; the code points that both can draw."""
    fonts = [TTFont(name, FOLDER / f"{name}.ttf") for name in (REGULAR, BOLD)]
    for font in fonts:
        pdfmetrics.registerFont(font)
    regular, bold = (frozenset(font.face.charToGlyph) for font in fonts)
    return regular & bold
