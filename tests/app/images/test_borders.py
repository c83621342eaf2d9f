"""What surrounds a film in one tone is cropped where it is wide; ordinary films are left alone; two films are seen."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from app.images.borders import find_film
from app.images.decode import decode_image
from app.images.pool import DecodePool
from tests.app.pictures import film, jpeg, phantom, phantom16, png

Pixels = npt.NDArray[Any]
FILM = film()
TWO = "it seems to hold several pictures side by side; send each film as an image of its own"


def framed(pixels: Pixels, left: int, top: int, right: int, bottom: int, tone: int = 0) -> Pixels:
    return np.pad(pixels, ((top, bottom), (left, right)), constant_values=tone)


def around(pixels: Pixels, share: float, tone: int = 0) -> Pixels:
    """The picture in a frame whose sides are this share of its own."""
    y, x = (round(share * side) for side in pixels.shape)
    return framed(pixels, x, y, x, y, tone)


def screenshot(pixels: Pixels) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """The picture in the grey window of a viewer with a title and a status line, and where it is."""
    window = Image.new("RGB", (1280, 720), (58, 58, 60))
    draw = ImageDraw.Draw(window)
    draw.rectangle((0, 0, 1280, 30), (32, 32, 36))
    draw.text((12, 10), "Viewer - CHEST PA", (230, 230, 230))
    draw.text((1250, 10), "X", (230, 230, 230))
    draw.text((14, 700), "W 4096 L 2048  zoom 45%", (180, 180, 180))
    left, top = (1280 - pixels.shape[1]) // 2, 80
    window.paste(Image.fromarray(pixels), (left, top))
    return window, (left, top, left + pixels.shape[1], top + pixels.shape[0])


@pytest.mark.parametrize("tone", [0, 3, 128, 255])
@pytest.mark.parametrize(
    "sides",
    [(50, 63, 50, 63), (200, 250, 200, 250), (800, 1000, 800, 1000), (0, 200, 0, 200), (300, 0, 300, 0), (500, 0, 0, 0),
     (0, 0, 0, 300), (0, 150, 90, 0)],
)  # fmt: skip
def test_wide_borders(sides: tuple[int, int, int, int], tone: int) -> None:
    """Borders that take a fifth of the longer side are cropped to the pixel, whatever tone and side, and said to be."""
    left, top, right, bottom = sides
    picture = framed(FILM, *sides, tone)
    image = decode_image(png(Image.fromarray(picture)))
    np.testing.assert_array_equal(image.pixels, FILM)
    assert image.region == (left, top, left + 400, top + 500)
    assert (image.height, image.width) == picture.shape
    assert image.warnings == (
        f"borders of one tone were cropped: {left} pixels left, {top} above, {right} right, {bottom} below",
    )


@pytest.mark.parametrize("quality", [70, 90])
@pytest.mark.parametrize("tone", [0, 128, 255])
def test_wide_borders_of_a_jpeg(tone: int, quality: int) -> None:
    """A JPEG's borders are cropped up to the noise around the film."""
    picture = around(FILM, 0.3, tone)
    image = decode_image(jpeg(Image.fromarray(picture), quality=quality))
    assert np.abs(np.array(image.region) - (120, 150, 520, 650)).max() <= 8
    assert "borders of one tone were cropped" in image.warnings[0]


@pytest.mark.parametrize("stored", [around(FILM, 0.3).astype(np.uint16) * 257, around(FILM, 0.3).astype(np.uint16) * 4])
def test_wide_borders_in_16_bits(stored: Pixels) -> None:
    """Sixteen bits, all in use or a few, are cropped alike and stay sixteen bits."""
    image = decode_image(png(Image.fromarray(stored)))
    np.testing.assert_array_equal(image.pixels, stored[150:650, 120:520])


@pytest.mark.parametrize(
    "picture",
    [
        FILM,
        film(300, 400),
        around(FILM, 0.05),
        framed(FILM, 60, 0, 60, 0),
        around(film(40, 40), 8.0),
        np.full((400, 300), 7, np.uint8),
        np.asarray(phantom(400, 300)),
        phantom16(400, 300),
        np.tile(np.arange(250, dtype=np.uint8), (400, 1)),
        np.repeat(np.arange(250, dtype=np.uint8), 400).reshape(250, 400),
        np.hstack([np.full((90, 90), 100, np.uint8), np.zeros((90, 90), np.uint8)]),
        np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8),
        np.tile(np.random.default_rng(0).integers(0, 256, 300, dtype=np.uint8), (300, 1)),
        np.zeros((1, 1), np.uint8),
        np.zeros((1, 500), np.uint8),
    ],
    ids=["film", "wide film", "narrow borders", "borders that leave the longer side", "a stamp on a table", "flat",
         "gradient", "gradient of 16 bits", "ramp across", "ramp down", "two halves", "noise", "stripes", "one pixel",
         "one row"],
)  # fmt: skip
def test_left_alone(picture: Pixels) -> None:
    """What has no wide borders of one tone is not touched, and one picture is not taken for two."""
    image = decode_image(png(Image.fromarray(picture)))
    np.testing.assert_array_equal(image.pixels, picture)
    assert image.region == (0, 0, image.width, image.height)
    assert image.warnings == ()


def test_faint_films() -> None:
    """A film of little contrast is not taken for a border, nor for two films when it stands in one."""
    faint = (235 + FILM / 12).astype(np.uint8)
    assert decode_image(png(Image.fromarray(faint))).warnings == ()
    (warning,) = decode_image(png(Image.fromarray(around(faint, 0.5, 40)))).warnings
    assert "borders of one tone were cropped" in warning


@pytest.mark.parametrize("make", [png, jpeg])
def test_screenshot(make: Any) -> None:
    """Of a window with a title and a status line the film is left."""
    window, place = screenshot(FILM)
    image = decode_image(make(window))
    assert np.abs(np.array(image.region) - place).max() <= 8
    assert "borders of one tone" in image.warnings[0]


def test_frames_within_frames() -> None:
    """Borders of different tones around one another are all cropped."""
    picture = around(around(around(FILM, 0.1, 255), 0.1, 40), 0.1, 128)
    np.testing.assert_array_equal(decode_image(png(Image.fromarray(picture))).pixels, FILM)


def test_many_frames_take_no_time() -> None:
    """A picture of a thousand frames within frames is no way to keep a worker busy."""
    y, x = np.mgrid[:2000, :2000]
    frames = (40 * (np.minimum(np.minimum(y, 1999 - y), np.minimum(x, 1999 - x)) % 6)).astype(np.uint8)
    started = time.process_time()
    find_film(frames)
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_upright(orientation: int) -> None:
    """The region is that of the picture turned upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
    upright = framed(FILM, 10, 200, 30, 90)
    image = decode_image(png(Image.fromarray(np.rot90(upright, turns)), exif=exif))
    np.testing.assert_array_equal(image.pixels, FILM)
    assert image.region == (10, 200, 410, 700)


@pytest.mark.parametrize("share", [0.5, 2.0, 4.0])
def test_detail_of_a_large_jpeg(share: float) -> None:
    """What is left of a large JPEG is no smaller than twice what the network looks at, and its region is the file's."""
    picture = around(film(400, 320), share)
    image = decode_image(jpeg(Image.fromarray(picture)), network_size=50)
    assert 100 <= max(image.pixels.shape) < 200 + 16
    left, top = round(share * 320), round(share * 400)
    assert np.abs(np.array(image.region) - (left, top, left + 320, top + 400)).max() <= 32
    assert (image.height, image.width) == picture.shape


def test_small_film_is_said() -> None:
    """A film that is small without its borders is said to be."""
    _, small = decode_image(png(Image.fromarray(around(FILM, 0.5))), network_size=512).warnings
    assert small == "the image is small (400x500); the model looks at 512 pixels a side"


def test_pool() -> None:
    """The decode pool crops as well."""
    pool = DecodePool(1)
    try:
        image = pool.decode(png(Image.fromarray(around(FILM, 0.5)))).result()
    finally:
        pool.close()
    assert image.region == (200, 250, 600, 750)
    np.testing.assert_array_equal(image.pixels, FILM)


OTHER = film(500, 430, seed=1)


def beside(gutter: int, tone: int) -> Pixels:
    return np.hstack([FILM, np.full((500, gutter), tone, np.uint8), OTHER])


@pytest.mark.parametrize("tone", [0, 64, 128, 255])
@pytest.mark.parametrize("gutter", [10, 20, 60, 200])
@pytest.mark.parametrize("make", [png, jpeg])
@pytest.mark.parametrize("turned", [False, True], ids=["side by side", "one above the other"])
def test_two_films(gutter: int, tone: int, make: Any, turned: bool) -> None:
    """Two films in one picture are warned of, whatever tone is between them."""
    picture = beside(gutter, tone)
    assert TWO in decode_image(make(Image.fromarray(picture.T if turned else picture))).warnings


@pytest.mark.parametrize("make", [png, jpeg])
@pytest.mark.parametrize("turned", [False, True], ids=["side by side", "one above the other"])
def test_two_films_without_a_gutter(make: Any, turned: bool) -> None:
    """Two films that touch are warned of, where they are not equally dark there."""
    picture = np.hstack([FILM[:, :300], OTHER[:, 20:350]])
    assert TWO in decode_image(make(Image.fromarray(picture.T if turned else picture))).warnings


@pytest.mark.parametrize("tone", [0, 255])
def test_two_films_in_a_frame(tone: int) -> None:
    """Two films of different height on one ground are cropped and warned of."""
    picture = around(
        np.hstack([FILM, np.full((500, 40), tone, np.uint8), framed(OTHER[:400], 0, 50, 0, 50, tone)]), 0.4, tone
    )
    image = decode_image(png(Image.fromarray(picture)))
    assert image.pixels.shape == (500, 870)
    assert image.warnings[1:] == (TWO,)


def test_four_films() -> None:
    """A sheet of films is warned of."""
    row = beside(15, 255)
    sheet = np.vstack([row, np.full((15, row.shape[1]), 255, np.uint8), row])
    assert decode_image(png(Image.fromarray(sheet))).warnings == (TWO,)


def test_real_films(data_dir: Path) -> None:
    """No film of a test split or of the Indiana collection is cropped or taken for two: figures stand as they are."""
    paths = list((data_dir / "iu_xray" / "images").iterdir())
    for name, folder in (("radiographs", ""), ("anatomy", "images"), ("covid", "images")):
        with (data_dir / name / "labels.csv").open(newline="") as file:
            rows = [row["file"] for row in csv.DictReader(file) if row["split"] in ("test", "external")]
        paths += [data_dir / name / row if "/" in row else data_dir / name / folder / row for row in rows]
    assert len(paths) > 2_800
    for path in paths:
        image = decode_image(path.read_bytes())
        assert image.region == (0, 0, image.width, image.height), path
        assert TWO not in image.warnings, path


@pytest.mark.anyio
async def test_report(client: httpx.AsyncClient) -> None:
    """A film in a wide frame gets the report of the film alone: heatmaps and sizes are the file's, and it is said."""
    params = {"include": "heatmaps", "num_beams": "1"}
    alone, framed_too = [
        (await client.post("/v1/report", params=params, files={"image": png(Image.fromarray(picture))})).json()
        for picture in (FILM, framed(FILM, 300, 200, 100, 50))
    ]
    assert framed_too["report"] == alone["report"]
    assert (framed_too["images"][0]["width"], framed_too["images"][0]["height"]) == (800, 750)
    for one, other in zip(alone["heatmaps"]["findings"], framed_too["heatmaps"]["findings"], strict=True):
        (seen,), (moved,) = one["maps"], other["maps"]
        assert moved["levels"] == seen["levels"]
        shift = {"left": 300, "right": 300, "top": 200, "bottom": 200}
        assert moved["box"] == pytest.approx(
            {side: value + shift[side] for side, value in seen["box"].items()}, abs=0.2
        )
    said = [warning for warning in framed_too["warnings"] if warning not in alone["warnings"]]
    assert said == [
        "Image 1: borders of one tone were cropped: 300 pixels left, 200 above, 100 right, 50 below.",
    ]
