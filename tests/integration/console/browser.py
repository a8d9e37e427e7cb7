"""Pages of the console in a real Chromium: what they ask for, what they log, and whether people can use them."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, sync_playwright

SERIOUS = frozenset({"serious", "critical"})
WIDTHS = (400, 1600)
_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions",
)  # fmt: skip


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium; skip without one, and fail where CI lacks it."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Chromium is not installed: apt-get install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page, and what must not happen on it.

    Attributes:
        page: the page.
        url: address of the service.
        errors: messages of the console and uncaught errors; violations of the content policy are among them.
        foreign: addresses of other hosts that were asked.
    """

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Open a page of the console."""
        self.page.goto(f"{self.url}/console{path}")
        return self.page

    def check(self) -> None:
        """Check that nothing was logged and no other host was asked."""
        assert self.errors == []
        assert self.foreign == []

    def check_accessible(self) -> None:
        """Check that axe finds no serious violation, and that nothing is wider than the window, narrow and wide."""
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 900})
            results = Axe().run(self.page).response
            serious = [
                (violation["id"], [node["html"][:200] for node in violation["nodes"]][:3])
                for violation in results["violations"]
                if violation["impact"] in SERIOUS
            ]
            assert serious == [], f"at {width} px"
            assert self.page.evaluate("document.documentElement.scrollWidth") <= width, f"wider than {width} px"


@contextlib.contextmanager
def watched(browser: Browser, url: str, *, locale: str = "en-GB", allow: tuple[str, ...] = ()) -> Iterator[Watched]:
    """Open a window of its own, without cookies of others.

    Args:
        browser: the browser.
        url: address of the service.
        locale: language that the browser asks for.
        allow: beginnings of messages that are expected, such as of a refused sign-in.
    """
    context = browser.new_context(locale=locale, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    result = Watched(page, url)

    def log(text: str) -> None:
        if not text.startswith(allow or ("\0",)):
            result.errors.append(text)

    def ask(request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(url).netloc and not request.url.startswith(("data:", "blob:")):
            result.foreign.append(request.url)

    page.on("console", lambda message: log(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: log(str(error)))
    page.on("request", ask)
    try:
        yield result
    finally:
        context.close()
