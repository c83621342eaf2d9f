"""The findings on the page: what is present first, each with its probability against its threshold."""

from __future__ import annotations

from typing import Any

from reportlab.platypus import Flowable

from app.interop.draft import Draft, Finding
from app.interop.page.films import cut, draw_tag, numbered
from app.interop.page.style import ABSENT, BOLD, GREY, INK, PALE, PRESENT, REGULAR, RULE

_HEAD, _ROW, _LEAST_ROW = 13.0, 15.5, 7.0
_TITLES = {"abnormal": "abnormal at all"}
_TALL = 1.5  # rows that say where, too
# Where names begin, in points, and columns of numbers end, as shares of the width.
_NAME, _PROBABILITY, _THRESHOLD = 13.0, 0.54, 0.71


class FindingsTable(Flowable):  # type: ignore[misc]  # reportlab is not typed
    """A row a finding, within `width` x `height` points; what is unlikeliest goes when there are too many."""

    def __init__(self, draft: Draft, width: float, height: float) -> None:
        super().__init__()
        self.width = width
        self._numbers = numbered(draft)
        rows = sorted(draft.decided, key=lambda one: (one is not draft.abnormal, not one.present, -one.probability))
        room = height - _HEAD
        tall = sum((_TALL - 1) for one in rows if one.where)
        self._row = min(_ROW, max(_LEAST_ROW, room / max(len(rows) + tall, 1)))
        self._heights = [self._row * (_TALL if one.where else 1) for one in rows]
        self._left_out = 0
        while len(rows) > 1 and sum(self._heights) + self._row * bool(self._left_out) > room + 1e-6:
            self._left_out += 1
            rows.pop(), self._heights.pop()
        self._rows = rows
        self.height = _HEAD + sum(self._heights) + self._row * bool(self._left_out)
        self._size = min(8.0, 0.62 * self._row)

    def draw(self) -> None:
        """Head and rows from the top."""
        canvas, y = self.canv, self.height - _HEAD
        canvas.setFillColor(GREY)
        canvas.setFont(REGULAR, 6.5)
        canvas.drawString(_NAME, y + 4, "Finding")
        for share, head in ((_PROBABILITY, "Probability"), (_THRESHOLD, "Threshold"), (1.0, "Present")):
            canvas.drawRightString(share * self.width, y + 4, head)
        canvas.setStrokeColor(RULE)
        canvas.setLineWidth(0.5)
        canvas.line(0, y, self.width, y)
        for i, (finding, high) in enumerate(zip(self._rows, self._heights, strict=True)):
            y -= high
            if i % 2 == 0:
                canvas.setFillColor(PALE)
                canvas.rect(0, y, self.width, high, stroke=0, fill=1)
            self._finding(finding, y, high)
        if self._left_out:
            canvas.setFillColor(GREY)
            canvas.setFont(REGULAR, self._size)
            canvas.drawString(_NAME, y - 0.7 * self._row, f"and {self._left_out} less likely ones")

    def _finding(self, finding: Finding, y: float, high: float) -> None:
        canvas: Any = self.canv
        where = finding.where
        base = y + 0.5 * high - 0.36 * self._size
        if number := self._numbers.get(finding.name):
            size = min(9.0, self._row - 1)
            draw_tag(canvas, 1, y + (high - size) / 2, number, size)
        font = BOLD if finding.present else REGULAR
        canvas.setFillColor(INK if finding.present else GREY)
        canvas.setFont(font, self._size)
        for share, text in (
            (_PROBABILITY, f"{finding.probability:.1%}"),
            (_THRESHOLD, "" if finding.threshold is None else f"{finding.threshold:.1%}"),
            (1.0, "yes" if finding.present else "no"),
        ):
            canvas.drawRightString(share * self.width, base, text)
        room = (_PROBABILITY - 0.13) * self.width - _NAME
        name_base = base + (0.55 * self._size if where else 0)
        canvas.drawString(
            _NAME, name_base, cut(_TITLES.get(finding.name) or finding.name.replace("_", " "), font, self._size, room)
        )
        if where:
            small = 0.78 * self._size
            canvas.setFont(REGULAR, small)
            canvas.drawString(_NAME, name_base - 1.15 * self._size, cut(where, REGULAR, small, room))
        self._bar(finding, y + high / 2)

    def _bar(self, finding: Finding, middle: float) -> None:
        """0 to 1 from left to right, with the threshold as a line across."""
        canvas: Any = self.canv
        x, end = ((_THRESHOLD + 0.03) * self.width, 0.88 * self.width)
        width, thick = end - x, min(4.0, 0.4 * self._row)
        canvas.setFillColor(RULE)
        canvas.rect(x, middle - thick / 2, width, thick, stroke=0, fill=1)
        canvas.setFillColor(PRESENT if finding.present else ABSENT)
        canvas.rect(x, middle - thick / 2, width * min(max(finding.probability, 0), 1), thick, stroke=0, fill=1)
        if finding.threshold is not None:
            canvas.setStrokeColor(INK)
            canvas.setLineWidth(0.9)
            at = x + width * min(max(finding.threshold, 0), 1)
            canvas.line(at, middle - thick / 2 - 1.5, at, middle + thick / 2 + 1.5)
