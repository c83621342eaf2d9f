"""Every row of the table of files in docs/images.md, with a file of that kind."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from app.images.decode import DecodedImage, decode_image
from app.images.errors import DecodeError
from tests.app.pictures import claiming, jpeg, phantom, phantom16, png, raw_png
from tests.conftest import ROOT

GREY = np.asarray(phantom())
COLOURS = Image.fromarray(np.dstack([GREY, GREY[::-1], GREY[:, ::-1]]))


def saved(kind: str) -> bytes:
    file = io.BytesIO()
    phantom().save(file, kind)
    return file.getvalue()


def transparent() -> bytes:
    picture = phantom().convert("LA")
    picture.putalpha(phantom(shift=1))
    return png(picture)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return png(phantom(), exif=exif)


Outcome = Callable[[DecodedImage], bool]
FRAMES = {"save_all": True, "append_images": [phantom(shift=1)]}


def close_to_grey(image: DecodedImage) -> bool:
    return bool(np.abs(image.pixels.astype(int) - GREY).mean() < 4) and not image.warnings


def warned(words: str) -> Outcome:
    return lambda image: len(image.warnings) == 1 and words in image.warnings[0]


def coloured(image: DecodedImage) -> bool:
    same = np.abs(image.pixels.astype(int) - np.asarray(COLOURS.convert("L"))).mean() < 4
    return bool(same) and warned("in colour")(image)


READ: dict[str, list[tuple[bytes, Outcome]]] = {
    "8-bit grey, any PNG or JPEG": [(png(phantom()), close_to_grey), (jpeg(phantom()), close_to_grey)],
    "16-bit grey PNG": [(png(Image.fromarray(phantom16())), lambda i: np.array_equal(i.pixels, phantom16()))],
    "1, 2 or 4 bits a pixel": [
        (png(phantom().convert("1")), lambda i: set(np.unique(i.pixels)) == {0, 255}),
        (raw_png(2, 0, 4, [b"\x1b"]), lambda i: i.pixels.tolist() == [[0, 85, 170, 255]]),
        (raw_png(4, 0, 2, [b"\x0f"]), lambda i: i.pixels.tolist() == [[0, 255]]),
    ],
    "16-bit colour PNG": [(raw_png(16, 2, 1, [b"\x7b\xff" * 3]), lambda i: i.pixels.tolist() == [[0x7B]])],
    "palette, RGB, CMYK": [
        (png(phantom().convert("P")), close_to_grey),
        (png(COLOURS), coloured),
        (jpeg(phantom().convert("CMYK")), close_to_grey),
    ],
    "alpha channel or transparent colour": [
        (transparent(), warned("transparent")),
        (png(phantom(), transparency=9), warned("transparent")),
        (raw_png(16, 4, 1, [b"\x7b\x01\xff\xff"]), lambda i: i.pixels.tolist() == [[0x7B01]]),
    ],
    "EXIF orientation": [(turned(), lambda i: np.array_equal(i.pixels, np.rot90(GREY, -1)) and i.width == 80)],
    "interlaced PNG, progressive JPEG": [
        (raw_png(8, 0, 1, [b"\x7b"], interlace=1), lambda i: i.pixels.tolist() == [[0x7B]]),
        (jpeg(phantom(), progressive=True), close_to_grey),
    ],
    "animated PNG, several pictures in one JPEG": [(png(phantom(), **FRAMES), warned("several frames"))],
    "smaller than what the model looks at": [(png(phantom()), lambda i: not i.warnings)],
}
REFUSED: dict[str, list[bytes]] = {
    "truncated, or a checksum that does not fit": [
        png(phantom())[:-30],
        jpeg(phantom())[:-30],
        png(phantom()).replace(b"IDAT", b"IDAT\1", 1),
    ],
    "more pixels than `MAX_PIXELS`, or a side above 65,535 (JPEG: 65,500)": [
        claiming(png(phantom()), 10_000, 10_000),
        claiming(png(phantom()), 1, 65_536),
    ],
    "GIF, TIFF, BMP, WebP, SVG, PDF, ZIP, text": [
        *map(saved, ("GIF", "TIFF", "BMP", "WEBP", "PDF")),
        b"<svg/>",
        b"PK\3\4",
        b"text",
    ],
}


def table() -> dict[str, str]:
    """The rows of the page: the file, and its outcome."""
    _, _, rest = (ROOT / "docs" / "images.md").read_text().partition("| file | outcome |\n|---|---|\n")
    rows, _, _ = rest.partition("\n\n")
    return dict(row.strip("| ").split(" | ") for row in rows.splitlines())


def test_table() -> None:
    """The table's rows are those tested here."""
    assert list(table()) == [*READ, *REFUSED]


@pytest.mark.parametrize(("kind", "file", "holds"), [(k, *case) for k, cases in READ.items() for case in cases])
def test_read(kind: str, file: bytes, holds: Outcome) -> None:
    """It is read the way the table says, with a warning where it says so."""
    assert holds(decode_image(file))
    warnings = decode_image(file, network_size=512).warnings
    assert any("small" in warning for warning in warnings)


@pytest.mark.parametrize(("kind", "file"), [(kind, file) for kind, files in REFUSED.items() for file in files])
def test_refused(kind: str, file: bytes) -> None:
    """It is refused with the error the table names."""
    with pytest.raises(DecodeError) as raised:
        decode_image(file)
    assert f"`{raised.value.type}`" in table()[kind]
