"""POST /v1/preview: any file that is read, as a PNG to look at, under the limits of a report."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from app.images.decode import decode_image
from app.images.preview import MAX_SIDE, preview_png
from tests.app.conftest import client_of, running
from tests.app.dicom_phantoms import dicom
from tests.app.pictures import film, phantom, png

pytestmark = pytest.mark.anyio
URL = "/v1/preview"


def shown(png_file: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = Image.open(io.BytesIO(png_file))
    assert (image.format, image.mode) == ("PNG", "L")
    return np.asarray(image)


async def test_a_dicom_file_is_drawn(client: httpx.AsyncClient) -> None:
    """In a form and as the body alike, at the file's own size, and nobody may keep it."""
    pixels = film()
    file = dicom(pixels)
    for response in (await client.post(URL, content=file), await client.post(URL, files={"image": file})):
        assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
        assert response.headers["cache-control"] == "no-store"
        np.testing.assert_array_equal(shown(response.content), pixels)


@pytest.mark.parametrize("size", [(5000, 1000), (1000, 5000), (3, 2100)])
def test_large_files_are_reduced(size: tuple[int, int]) -> None:
    """To 2048 pixels on the longer side, in proportion."""
    picture = shown(preview_png(decode_image(png(Image.new("L", size, 90)))))
    assert max(picture.shape) == MAX_SIDE
    assert picture.shape[0] / picture.shape[1] == pytest.approx(size[1] / size[0], rel=0.6 if 3 in size else 0.01)


def test_borders_are_where_they_were() -> None:
    """What was cropped is black, so that boxes in pixels of the file lie where they belong."""
    framed = np.zeros((700, 600), np.uint8)
    framed[100:600, 100:500] = film(500, 400)
    image = decode_image(png(Image.fromarray(framed)))
    assert image.region != (0, 0, 600, 700)
    np.testing.assert_array_equal(shown(preview_png(image)), framed)


def test_sixteen_bits_become_eight() -> None:
    """Full scale stays full scale."""
    deep = np.linspace(0, 65535, 64 * 80).astype(np.uint16).reshape(80, 64)
    picture = shown(preview_png(decode_image(png(Image.fromarray(deep)))))
    assert (picture.min(), picture.max()) == (0, 255)


async def test_what_is_refused(client: httpx.AsyncClient, picture: bytes) -> None:
    """By the table of problems, as a report would be; it has no options and takes one file."""
    two = [("image", picture), ("image", picture)]
    for response, problem in (
        (await client.post(URL, content=b"These are notes."), (415, "unsupported-media-type")),
        (await client.post(URL, content=picture[:60]), (422, "corrupt-image")),
        (await client.post(URL, content=dicom(film(), Modality="CT")), (422, "unsupported-modality")),
        (await client.post(URL, content=b""), (400, "malformed-request")),
        (await client.post(URL, files=two), (413, "payload-too-large")),
        (await client.post(URL, files={"image": picture}, data={"num_beams": "2"}), (422, "invalid-options")),
        (await client.post(URL, content=picture, params={"num_beams": "2"}), (422, "invalid-options")),
        (await client.post(URL, json={"dicomweb": {"study": "1.2"}}), (415, "unsupported-media-type")),
    ):
        assert (response.status_code, response.json()["type"]) == problem
        assert response.headers["content-type"] == "application/problem+json"


async def test_keys_rates_and_room(tiny_checkpoint: Path) -> None:
    """It asks for the key, counts against the rate, and is refused while the house is full."""
    file, key = png(phantom()), "one"
    hashes = hashlib.sha256(key.encode()).hexdigest()
    headers = {"Authorization": f"Bearer {key}"}
    settings = {"api_key_hashes": hashes, "rate_limit_per_minute": 1, "rate_limit_burst": 2, "max_requests": 1}
    async with running(tiny_checkpoint, **settings) as app, client_of(app) as client:
        assert (await client.post(URL, content=file)).status_code == 401
        async with app.state.service.hold():
            full = await client.post(URL, content=file, headers=headers)
        assert (full.status_code, full.json()["type"]) == (503, "overloaded")
        assert int(full.headers["retry-after"]) >= 1
        assert (await client.post(URL, content=file, headers=headers)).status_code == 200
        limited = await client.post(URL, content=file, headers=headers)
        assert (limited.status_code, limited.json()["type"]) == (429, "rate-limited")
        assert app.state.service.held_bytes == 0
        metrics = (await client.get("/metrics")).text
        assert 'xray_report_stage_duration_seconds_count{stage="preview"} 1.0' in metrics
        assert 'xray_report_rejected_total{reason="rate-limited"} 1.0' in metrics
