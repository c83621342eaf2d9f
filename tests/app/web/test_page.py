"""What the page is made of, and how it does when the service does not do as asked."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI

from benchmarks.server import Server
from tests.app.running_server import serving
from tests.app.web.conftest import SIZES, give, opened, shoot, wait_for_draft, wait_for_text, wait_until_ready
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

WEB = ROOT / "app" / "web"
SCRIPTS = sorted(WEB.glob("*.js"))
MAX_LINES = 800
MAX_FIRST_BYTES = 100_000
FILM = ROOT / "benchmarks" / "phantom-frontal.png"
KEY = "a-key-of-the-tests"


def test_the_script_is_small() -> None:
    """Fewer than 800 lines, in modules none of which is long, in lines that can be read."""
    lines = {path.name: path.read_text().splitlines() for path in SCRIPTS}
    assert sum(map(len, lines.values())) < MAX_LINES
    assert max(map(len, lines.values())) <= 250
    assert max(len(line) for one in lines.values() for line in one) <= 120


def test_the_sample_is_the_bundled_film() -> None:
    """Its credit is beside that one."""
    assert (WEB / "sample.jpg").read_bytes() == (ROOT / "weights" / "samples" / "effusion.jpg").read_bytes()


@pytest.mark.anyio
async def test_the_policy_allows_nothing_inline(client: httpx.AsyncClient) -> None:
    """A browser gets the page, under a policy without `unsafe-`; markup holds neither script nor style."""
    response = await client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "style=" not in response.text
    assert "http" not in response.text.replace("http-equiv", "")
    text = "".join(path.read_text() for path in SCRIPTS)
    for forbidden in ("innerHTML", "http:", "https:", "eval(", "localStorage.", "indexedDB."):
        assert forbidden not in text


@pytest.mark.anyio
async def test_others_get_text(client: httpx.AsyncClient, app: FastAPI) -> None:
    """Who does not ask for HTML gets the routes; each says that it depends on Accept."""
    for accept in ("*/*", "text/plain", "application/json"):
        response = await client.get("/", headers={"Accept": accept})
        assert response.headers["content-type"].startswith("text/plain")
        assert response.headers["vary"] == "Accept"
    assert (await client.get("/web/index.html")).status_code == 404
    assert (await client.get("/web/..%2Fmain.py")).status_code == 404


def violations(page: Page) -> list[tuple[str, str]]:
    """What axe-core calls serious or critical: rule and place."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found: list[dict[str, Any]] = axe.Axe().run(page).response["violations"]
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    return [(one["id"], node["html"][:120]) for one in grave for node in one["nodes"]]


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_grave(browser: Browser, server: Server, size: str, scheme: str) -> None:
    """Neither before a study nor with one, nor in the drawers, nor beside a refusal."""
    with opened(browser, server, size, scheme) as page:
        wait_until_ready(page)
        assert violations(page) == []
        page.click("#sample")
        wait_for_draft(page)
        for details in page.locator("#draft details:visible > summary").all():
            details.click()
        page.locator(".sentence").first.click()
        assert violations(page) == []
        page.click("#open-options")
        page.click("#fields summary")
        assert violations(page) == []
        page.keyboard.press("Escape")
        page.click("#open-history")
        assert violations(page) == []
        page.keyboard.press("Escape")
        give(page, "notes.txt", b"no film")
        page.wait_for_selector("#notice:not([hidden])")
        assert violations(page) == []


def test_first_paint_is_small(browser: Browser, server: Server) -> None:
    """All that is loaded before anything is done comes to less than 100 KB over the wire."""
    context = browser.new_context()
    try:
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        sizes: list[float] = []
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        page.goto(f"http://127.0.0.1:{server.port}/", wait_until="networkidle")
        wait_until_ready(page)
        assert len(sizes) > len(SCRIPTS)
        assert sum(sizes) < MAX_FIRST_BYTES
    finally:
        context.close()


@contextmanager
def occupied(port: int) -> Iterator[None]:
    """A request in the house whose body does not come."""
    head = b"POST /v1/report HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nx"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head)
        yield


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", SIZES)
def test_overload(browser: Browser, tiny_checkpoint: Path, size: str, scheme: str) -> None:
    """While the service is full the page counts down to when it may come back, and comes back by itself then."""
    with serving(tiny_checkpoint, max_requests=1) as small, opened(browser, small, size, scheme) as page:
        wait_until_ready(page)
        with occupied(small.port):
            give(page, "film.png", FILM.read_bytes(), "paste")
            wait_for_text(page, "#retry", "Trying again in")
            assert page.inner_text("#notice-title") == "The service is at its limit."
            shoot(page, f"{size}-{scheme}-overload")
        wait_for_draft(page)
        assert page.locator("#notice").is_hidden()
        asked = [entry for entry in small.log if entry.get("route") == "/v1/report" and entry["method"] == "POST"]
        ids = [entry["request_id"] for entry in asked if entry["status"] in (200, 503)]
        assert len(ids) >= 2
        assert len(set(ids)) == 1, "by its id the service knows whose turn it is"


def test_a_key_is_asked_for_where_one_is_needed(browser: Browser, tiny_checkpoint: Path) -> None:
    """A wrong one is asked for again; the right one lets the study through, whose draft needs no second try."""
    hashes = hashlib.sha256(KEY.encode()).hexdigest()
    with serving(tiny_checkpoint, api_key_hashes=hashes) as locked, opened(browser, locked) as page:
        for key in ("a-wrong-one", KEY):
            page.wait_for_selector("#key-form:not([hidden])")
            shoot(page, "desktop-dark-key")
            page.fill("#key", key)
            page.press("#key", "Enter")
        wait_until_ready(page)
        assert page.locator("#notice").is_hidden()
        give(page, "film.png", FILM.read_bytes())
        wait_for_draft(page)
        assert KEY not in page.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")


def test_the_page_says_when_the_model_is_not_ready(browser: Browser, server: Server) -> None:
    """It can be used meanwhile: images are shown at once, and their draft follows."""
    with opened(browser, server) as page:
        wait_until_ready(page)
        not_ready = '{"type": "model-not-ready", "title": "The model is not ready.", "status": 503}'

        def refuse(route: Route) -> None:
            route.fulfill(
                status=503, content_type="application/problem+json", headers={"Retry-After": "2"}, body=not_ready
            )

        for path in ("**/readyz", "**/v1/report*"):  # a real warm-up is too short to be looked at
            page.route(path, refuse)
        page.click("#sample")
        page.wait_for_selector('#model[data-ready="false"]')
        assert page.inner_text("#model") == "Model not ready yet"
        page.wait_for_selector('body[data-state="study"] .view')
        page.click("#invert")
        assert page.get_attribute("#invert", "aria-pressed") == "true"
        page.click("#open-options")
        page.keyboard.press("Escape")
        shoot(page, "desktop-dark-not-ready")
        page.unroute_all()
        wait_for_draft(page)
        page.wait_for_selector('#model[data-ready="true"]')


def test_stopping_a_draft(browser: Browser, server: Server) -> None:
    """Whoever does not want to wait stops; the study stays to be looked at."""
    with opened(browser, server) as page:
        wait_until_ready(page)
        held: list[Route] = []
        page.route("**/v1/report*", lambda route: held.append(route))
        page.click("#sample")
        page.wait_for_selector("#progress:not([hidden])")
        page.click("#stop")
        page.wait_for_selector('main[aria-busy="false"]')
        assert page.get_attribute("body", "data-state") == "study"
        assert page.locator("#notice").is_hidden()
        for route in held:
            route.abort()


def test_views_are_added_to_a_study(browser: Browser, server: Server) -> None:
    """Another view makes the draft anew; of two images each can be looked at, and one that was not read says so."""
    with opened(browser, server) as page:
        wait_until_ready(page)
        page.click("#sample")
        wait_for_draft(page)
        lateral = (ROOT / "benchmarks" / "phantom-lateral.png").read_bytes()
        page.set_input_files("#more", {"name": "lateral.png", "mimeType": "image/png", "buffer": lateral})
        wait_for_text(page, ".view", "not read")
        assert "not read" in page.inner_text("#warnings")
        page.locator(".view").nth(1).click()
        assert (page.get_attribute("#canvas", "aria-label") or "").startswith("Image 2")
        shoot(page, "desktop-dark-two-views")


def test_by_keyboard_alone(browser: Browser, server: Server) -> None:
    """Tab reaches sentences and findings, focus lights up what pointing does, Enter pins it."""
    with opened(browser, server) as page:
        wait_until_ready(page)
        page.focus("#sample")
        page.keyboard.press("Enter")
        wait_for_draft(page)
        page.focus("#copy")
        page.keyboard.press("Tab")
        assert page.locator(".sentence:focus.lit").count() == 1
        assert page.locator(".finding.lit").count() >= 1
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.locator('.sentence[aria-pressed="true"]').count() == 1
        page.keyboard.press("o")
        assert page.locator("#options").is_visible()
