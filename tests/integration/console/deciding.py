"""Keys of people who decide and of those who may not, and what both do in a browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from tests.integration.console.browser import Watched
from tests.program import rerankd

REFUSED = "Failed to load resource: the server responded with a status of 403"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202egnp.exe \u200b\x1b[31m " + "w" * 150


@dataclass(frozen=True)
class Keys:
    """A key file with an admin key and the key of one tenant, in the clear."""

    path: Path
    admin: str
    tenant: str


def key_file(folder: Path) -> Keys:
    """Write a key file."""
    path = folder / "keys.json"
    clear = []
    for flags in (["ops", "--admin"], ["search"]):
        made = rerankd("keys", "add", *flags, "--file", str(path), "--json")
        assert made.returncode == 0, made.stderr
        clear.append(next(word.strip('",') for word in made.stdout.split() if word.strip('",').startswith("rk-")))
    return Keys(path, *clear)


def sign_in(window: Watched, key: str, path: str) -> Page:
    """Sign in, and open a page."""
    page = window.open("/sign-in")
    page.locator("input[name=key]").fill(key)
    page.keyboard.press("Enter")
    expect(page.locator(".session .soft")).to_be_visible()
    return window.open(path)


def decide(page: Page, button: str, reason: str, question: str) -> None:
    """Press a button, read the question, give a reason, and confirm."""
    page.get_by_role("button", name=button, exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(question)
    dialog.locator("input[name=reason]").fill(reason)
    dialog.get_by_role("button", name=button, exact=True).click()


def csrf(client: httpx.Client, path: str) -> str:
    """Return the token of a session's forms."""
    text = client.get(path).text
    return text.split('name="csrf_token" value="')[1].split('"')[0]
