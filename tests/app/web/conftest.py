"""Debian's Chromium, driven by Playwright, before a real server. Screenshots stay in `build/page`."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.server import Server
from tests.app.running_server import serving
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENSHOTS = ROOT / "build" / "page"
SHIPPED = ROOT / "weights" / "xray-report-reference.pt"
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
PATIENCE_MS = 60_000
_DROP = """([name, type, data, kind]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type}));
  document.dispatchEvent(kind === "drop" ? new DragEvent("drop", {dataTransfer: transfer, cancelable: true})
    : new ClipboardEvent("paste", {clipboardData: transfer}));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ends with its module: while it runs, nothing else in this thread can have an event loop."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    unboxed = ["--no-sandbox"] if os.geteuid() == 0 else []  # root, as in containers, has none
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=unboxed)
        yield running
        running.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of the shipped checkpoint."""
    with serving(SHIPPED) as running:
        yield running


@contextmanager
def opened(browser: Browser, server: Server, size: str = "desktop", scheme: str = "dark") -> Iterator[Page]:
    """The page at a size and in a colour scheme. Nothing in it fails, and nothing it asks for leaves its origin."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        device_scale_factor=2 if size == "phone" else 1,
        has_touch=size == "phone",
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    origin = f"http://127.0.0.1:{server.port}/"
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.on("console", lambda line: failed.append(line.text) if "Content Security Policy" in line.text else None)
    page.goto(origin)
    try:
        yield page
        assert not failed
        assert {url for url in asked if not url.removeprefix("blob:").startswith(origin)} == set()
    finally:
        context.close()


def wait_until_ready(page: Page) -> None:
    """The model is ready and the drawer of options is filled."""
    page.wait_for_selector('#model[data-ready="true"]')
    page.wait_for_selector("#option-num_beams", state="attached")


def give(page: Page, name: str, content: bytes, kind: str = "drop") -> None:
    """Drops or pastes a file of any type."""
    page.evaluate(_DROP, [name, "", base64.b64encode(content).decode(), kind])


def wait_for_draft(page: Page) -> None:
    """A report is there, and nothing is under way."""
    page.wait_for_selector('body[data-state="drafted"] main[aria-busy="false"]')


def wait_for_text(page: Page, selector: str, text: str) -> None:
    """An element says so. (Playwright's own waiting for a script's word is forbidden by the page's policy.)"""
    page.locator(selector).filter(has_text=text).first.wait_for(state="attached")


def shoot(page: Page, name: str, *, folder: Path = SCREENSHOTS) -> None:
    """Keeps a screenshot as it is seen."""
    folder.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(350)  # what fades in is there
    page.screenshot(path=folder / f"{name}.png")
