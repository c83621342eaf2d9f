"""The study's images on the page: beside each other, with the boxes of what is present, marked as a draft."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.colors import Color, black
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.platypus import Flowable

from app.interop.draft import Draft, Place, SourceImage
from app.interop.page.style import BOLD, FOLDER, GREY, INK, MARKERS, REGULAR

# As many pixels as 300 a inch have room for on the page.
MAX_SIDE = 1100
MARK = "AI DRAFT - NOT FOR CLINICAL USE"
_CAPTION, _GAP = 16.0, 5.0
_TAG = 9.5
_BAND = 0.06  # of an image's width: how high the band below it is, which bears the mark


def marker(number: int) -> Color:
    """The colour of the finding that is marked with `number`, from 1."""
    return MARKERS[(number - 1) % len(MARKERS)]


def numbered(draft: Draft) -> dict[str, int]:
    """The findings that have boxes, and the numbers that mark them, the likeliest first."""
    placed = sorted((one for one in draft.findings if one.places), key=lambda one: -one.probability)
    return {one.name: i for i, one in enumerate(placed, 1)}


class Films(Flowable):  # type: ignore[misc]  # reportlab is not typed
    """One to four images in a frame of `width` x `height` points; `pictures` are their `pictures_of`."""

    def __init__(self, draft: Draft, pictures: Sequence[bytes], width: float, height: float) -> None:
        super().__init__()
        self.width = width
        self._draft, self._pictures = draft, pictures
        self._rows = _arrange(draft.images, width, height)
        self.height = sum(row[0][1] + _CAPTION for row in self._rows) + _GAP * (len(self._rows) - 1)

    def draw(self) -> None:
        """Rows from the top."""
        top, number = self.height, 0
        for row in self._rows:
            left = 0.0
            for width, height in row:
                self._film(number, (left, top - height, width, height))
                left += width + _GAP
                number += 1
            top -= row[0][1] + _CAPTION + _GAP

    def _film(self, number: int, cell: tuple[float, float, float, float]) -> None:
        canvas, image = self.canv, self._draft.images[number]
        x, y, width, height = cell
        shape = _shape(image)
        wide, high = min(width, height * shape), min(height, width / shape)
        band = _BAND * wide
        frame = (x, y + height - high + band, wide, high - band)
        canvas.drawImage(ImageReader(io.BytesIO(self._pictures[number])), x, frame[1] - band, wide, high)
        canvas.saveState()
        clip = canvas.beginPath()
        clip.rect(*frame)
        canvas.clipPath(clip, stroke=0)
        _Boxes(canvas, image, frame).draw(number, self._draft, numbered(self._draft))
        canvas.restoreState()
        canvas.setFillColor(INK)
        canvas.setFont(REGULAR, 6.5)
        canvas.drawString(x, y - 7.5, cut(_caption(number, image), REGULAR, 6.5, width))
        canvas.setFillColor(GREY)
        canvas.setFont(REGULAR, 5.5)
        file = f"{image.format} {image.width}×{image.height}, {image.sha256[:12]}"
        canvas.drawString(x, y - 14, cut(file, REGULAR, 5.5, width))


class _Boxes:
    """Boxes over one drawn film, with numbers at their corners that do not cover each other."""

    def __init__(self, canvas: Any, image: SourceImage, frame: tuple[float, float, float, float]) -> None:
        self._canvas, self._image, self._frame = canvas, image, frame
        self._boxes: list[tuple[float, float, float, float]] = []
        self._corners: list[tuple[float, float, int]] = []
        self._tags: list[tuple[float, float]] = []

    def draw(self, image: int, draft: Draft, numbers: Mapping[str, int]) -> None:
        """Those of image number `image`; the likeliest finding last, on top."""
        for finding in sorted(draft.findings, key=lambda one: -numbers.get(one.name, 0)):
            for place in finding.places:
                if place.image == image:
                    self._box(place, numbers[finding.name])
        for corner in self._corners:
            self._tag(*corner)

    def _box(self, place: Place, number: int) -> None:
        canvas = self._canvas
        x, y, width, height = self._frame
        left, top, right, bottom = self._image.region
        x_scale, y_scale = width / (right - left), height / (bottom - top)
        x0, x1 = (min(max(x + (side - left) * x_scale, x + 1), x + width - 1) for side in place.box[::2])
        y1, y0 = (min(max(y + height - (side - top) * y_scale, y + 1), y + height - 1) for side in place.box[1::2])
        while any(max(abs(a - b) for a, b in zip((x0, y0, x1, y1), other, strict=True)) < 2 for other in self._boxes):
            x0, y0, x1, y1 = x0 + 2.2, y0 + 2.2, x1 - 2.2, y1 - 2.2  # both lines of one place are seen
        self._boxes.append((x0, y0, x1, y1))
        for colour, line in ((black, 2.6), (marker(number), 1.2)):
            canvas.setStrokeColor(colour)
            canvas.setLineWidth(line)
            canvas.rect(x0, y0, x1 - x0, y1 - y0)
        self._corners.append((x0, y1, number))

    def _tag(self, left: float, top: float, number: int) -> None:
        canvas = self._canvas
        x, y, width, height = self._frame
        tag_x, tag_y = min(left, x + width - _TAG), min(top, y + height - _TAG)
        while any(abs(tag_x - a) < _TAG and abs(tag_y - b) < _TAG for a, b in self._tags) and tag_x < x + width - _TAG:
            tag_x += _TAG + 0.5
        self._tags.append((tag_x, tag_y))
        draw_tag(canvas, tag_x, tag_y, number)


def draw_tag(canvas: Any, x: float, y: float, number: int, size: float = _TAG) -> None:
    """The square with a finding's number, its lower left corner at (x, y)."""
    canvas.setFillColor(marker(number))
    canvas.setStrokeColor(black)
    canvas.setLineWidth(0.5)
    canvas.roundRect(x, y, size, size, 1.5, fill=1)
    canvas.setFillColor(black)
    canvas.setFont(BOLD, 0.72 * size)
    canvas.drawCentredString(x + size / 2, y + 0.24 * size, str(number))


def _arrange(images: Sequence[SourceImage], width: float, height: float) -> list[list[tuple[float, float]]]:
    """Rows of one or two cells with their width and height, as large as the frame has room for."""
    rows = [images[i : i + 2] for i in range(0, len(images), 2)]
    room = (height - _GAP * (len(rows) - 1)) / len(rows) - _CAPTION
    arranged = []
    for row in rows:
        shapes = [min(max(_shape(image), 0.4), 2.5) for image in row]  # no strip presses the others flat
        high = min(room, (width - _GAP * (len(row) - 1)) / sum(shapes))
        arranged.append([(shape * high, high) for shape in shapes])
    return arranged


def _shape(image: SourceImage) -> float:
    """Width over height, with the band that bears the mark."""
    left, top, right, bottom = image.region
    return (right - left) / (bottom - top + _BAND * (right - left))


def pictures_of(draft: Draft) -> list[bytes]:
    """The images as they are drawn."""
    return [_jpeg(image) for image in draft.images]


def _jpeg(image: SourceImage) -> bytes:
    """The picture as grey JPEG of at most `MAX_SIDE` pixels a side, its tones spread, with the mark."""
    step = max(1, max(image.pixels.shape) // (2 * MAX_SIDE))
    pixels = image.pixels[::step, ::step].astype(np.float32)
    low, high = np.percentile(pixels, (0.2, 99.8))
    grey = ((pixels - low) * (255 / max(high - low, 1))).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(grey)
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    _marked(picture).save(file, "JPEG", quality=88)
    return file.getvalue()


def _marked(picture: Image.Image) -> Image.Image:
    """The picture with the mark below it, white on black, in the same pixels: whoever copies one copies the other."""
    width, height = picture.size
    marked = Image.new("L", (width, height + max(1, round(_BAND * width))))
    marked.paste(picture)
    font = ImageFont.truetype(FOLDER / f"{BOLD}.ttf", max(4, width // 23), layout_engine=ImageFont.Layout.BASIC)
    middle = (width // 2, (height + marked.height) // 2)
    ImageDraw.Draw(marked).text(middle, MARK, fill=255, font=font, anchor="mm")
    return marked


def _caption(number: int, image: SourceImage) -> str:
    read = "" if image.read else ", not read"
    return f"Image {number + 1}: {image.view} ({image.view_probability:.0%}){read}"


def cut(text: str, font: str, size: float, width: float) -> str:
    """As much of the text as there is room for."""
    if stringWidth(text, font, size) <= width:
        return text
    while text and stringWidth(text + "…", font, size) > width:
        text = text[:-1]
    return text.rstrip() + "…" if text else ""
