"""The whole way through the page, as a visitor goes it, at each size and in each colour scheme."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from benchmarks.server import Server
from tests.app.dicom_phantoms import dicom
from tests.app.web.conftest import SIZES, give, opened, shoot, wait_for_draft, wait_for_text, wait_until_ready
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Download, Page

SAMPLES = ROOT / "weights" / "samples"
Answer = dict[str, Any]


def drafted(page: Page, act: Any) -> Answer:
    """The answer that comes of an act, once it is shown."""
    with page.expect_response(lambda response: "/v1/report" in response.url and response.status == 200):
        act()
    wait_for_draft(page)
    answer: Answer = page.evaluate("JSON.parse(sessionStorage.getItem('history'))[0].answer")
    return answer


def box_of(answer: Answer) -> tuple[str, float, float]:
    """The finding with the smallest box, and its middle as shares of the image."""
    boxes = [(one["name"], place["box"]) for one in answer["findings"] for place in one.get("locations", [])]
    name, box = min(boxes, key=lambda one: (one[1]["right"] - one[1]["left"]) * (one[1]["bottom"] - one[1]["top"]))
    image = answer["images"][0]
    across, down = (box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2
    return name, across / image["width"], down / image["height"]


def check_links(page: Page, answer: Answer, shot: str) -> None:
    """Pointing at a sentence lights its finding up; pointing at a region lights its sentences up."""
    i, sentence = next((i, one) for i, one in enumerate(answer["sentences"]) if one["findings"])
    page.locator(".sentence").nth(i).hover()
    lit = page.locator(".finding.lit").evaluate_all("all => all.map(one => one.dataset.target)")
    assert set(lit) == set(sentence["findings"])
    shoot(page, f"{shot}-sentence")
    name, across, down = box_of(answer)
    canvas = page.locator("#canvas")
    canvas.scroll_into_view_if_needed()
    place = canvas.bounding_box()
    assert place is not None
    side = min(place["width"], place["height"])  # the films are square
    x = (place["width"] - side) / 2 + across * side
    y = (place["height"] - side) / 2 + down * side
    canvas.hover(position={"x": x, "y": y})
    said = page.locator(".sentence.lit").evaluate_all("all => all.map(one => Number(one.dataset.target))")
    assert said == [i for i, one in enumerate(answer["sentences"]) if name in one["findings"]]
    assert said
    label = canvas.get_attribute("aria-label") or ""
    assert all(one["name"].replace("_", " ") in label for one in answer["findings"] if one.get("locations"))
    shoot(page, f"{shot}-region")
    page.mouse.move(1, 1)


def check_viewer(page: Page) -> None:
    """Window and level follow a drag, the keys and buttons do what they say, and reset undoes it all."""
    shown = page.locator("#tone")
    before = shown.text_content()
    canvas = page.locator("#canvas")
    canvas.drag_to(canvas, source_position={"x": 100, "y": 100}, target_position={"x": 160, "y": 140})
    windowed = shown.text_content()
    assert windowed != before
    page.click("#zoom-in")
    page.click("#invert")
    assert page.get_attribute("#invert", "aria-pressed") == "true"
    canvas.press("ArrowRight")
    canvas.press("Shift+ArrowUp")
    assert shown.text_content() not in (before, windowed)
    page.click("#reset")
    assert shown.text_content() == before
    assert page.get_attribute("#invert", "aria-pressed") == "false"


def check_options(page: Page, shot: str) -> Answer:
    """The drawer asks for other beams and another operating point, and the draft is made anew."""
    page.click("#open-options")
    page.fill("#option-num_beams", "9")
    page.click("#apply")
    assert page.locator("#options").is_visible(), "nine beams are out of range"
    page.fill("#option-num_beams", "5")
    page.select_option("#option-operating_point", "sensitive")
    shoot(page, f"{shot}-options")
    answer = drafted(page, lambda: page.click("#apply"))
    assert (answer["options"]["num_beams"], answer["options"]["operating_point"]) == (5, "sensitive")
    assert len(answer["alternatives"]) == 4
    page.click("#alternatives-box summary")
    texts = page.locator("#alternatives li > p").evaluate_all(
        "all => all.map(p => [...p.childNodes].filter(n => n.nodeName !== 'DEL').map(n => n.textContent).join(''))"
    )
    assert [text.split() for text in texts] == [one["text"].split() for one in answer["alternatives"]]
    page.locator("#alternatives-box").scroll_into_view_if_needed()
    shoot(page, f"{shot}-alternatives")
    return answer


def saved(page: Page, form: str) -> tuple[str, bytes]:
    """The file that a download button gives."""
    with page.expect_download() as got:
        page.click(f'[data-form="{form}"]')
    download: Download = got.value
    return download.suggested_filename, Path(download.path()).read_bytes()


def check_downloads(page: Page, server: Server, answer: Answer, film: bytes) -> None:
    """The one key copies what the service gives as text; every form comes down."""
    asked = {name: answer["options"][name] for name in ("num_beams", "operating_point")}
    with server.client() as client:
        said = client.post("/v1/report", files={"image": film}, params=asked, headers={"Accept": "text/plain"}).text
    page.keyboard.press("c")
    wait_for_text(page, "#copy-words", "Copied")
    assert page.evaluate("navigator.clipboard.readText()") == said
    name, text = saved(page, "text")
    assert name.endswith(".txt")
    assert text.decode() == said
    assert json.loads(saved(page, "json")[1]) == answer
    assert saved(page, "pdf")[1].startswith(b"%PDF-")
    assert json.loads(saved(page, "fhir")[1])["resourceType"] == "DiagnosticReport"
    name, written = saved(page, "sr")
    assert name.endswith(".dcm")
    assert pydicom.dcmread(io.BytesIO(written)).Modality == "SR"


def check_refusals(page: Page, shot: str) -> None:
    """A text file and a lateral film alone are refused, with the reason and what to do."""
    give(page, "notes.txt", b"These are notes, and no film.\n")
    page.wait_for_selector("#notice:not([hidden])")
    assert "PNG, JPEG or DICOM" in page.inner_text("#notice-detail")
    assert page.inner_text("#notice-advice").startswith("Choose PNG, JPEG or DICOM files.")
    shoot(page, f"{shot}-refused")
    give(page, "lateral.png", (ROOT / "benchmarks" / "phantom-lateral.png").read_bytes())
    wait_for_text(page, "#notice-advice", "Add the frontal film")
    assert "frontal" in page.inner_text("#notice-detail")
    assert page.get_attribute("body", "data-state") == "study", "the film can be looked at all the same"
    page.evaluate("scrollTo(0, 0)")
    shoot(page, f"{shot}-lateral")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", SIZES)
def test_the_whole_way(browser: Browser, server: Server, size: str, scheme: str) -> None:
    """From the sample study over a dropped DICOM file, its options, forms and history to what is refused."""
    shot = f"{size}-{scheme}"
    pixels = np.asarray(Image.open(SAMPLES / "cardiomegaly.jpg").convert("L"))
    film = dicom(pixels, number=1)
    with opened(browser, server, size, scheme) as page:
        wait_until_ready(page)
        shoot(page, f"{shot}-start")
        sample = drafted(page, lambda: page.click("#sample"))
        shoot(page, f"{shot}-draft")
        assert page.locator("#sections section").count() == len(sample["report"]["sections"])
        assert page.locator('[data-form="sr"]').is_hidden(), "a JPEG has no SR"
        check_links(page, sample, shot)
        if os.environ.get("README_PICTURE") and shot == "desktop-dark":
            page.locator(".finding").first.hover()
            page.wait_for_timeout(500)
            page.screenshot(path=ROOT / "docs" / "page.jpg", type="jpeg", quality=88)
        page.locator(".finding").first.hover()
        assert page.locator(".means").first.is_visible()
        shoot(page, f"{shot}-number")
        check_viewer(page)
        given = drafted(page, lambda: give(page, "film.dcm", film))
        assert given["images"][0]["format"] == "DICOM"
        answer = check_options(page, shot)
        check_downloads(page, server, answer, film)
        page.click("#open-history")
        assert page.locator("#entries button").count() == 3
        shoot(page, f"{shot}-history")
        page.locator("#entries button").last.click()
        page.wait_for_selector("#history:not([open])", state="attached")
        assert page.locator(".sentence").count() == len(sample["sentences"])
        check_refusals(page, shot)
        page.reload()
        wait_until_ready(page)
        page.click("#open-history")
        page.locator("#entries button").last.click()
        wait_for_draft(page)
        assert page.locator("#again").is_visible(), "after loading anew the files are gone, the draft is not"
