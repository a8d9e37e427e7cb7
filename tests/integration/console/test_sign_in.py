"""Signing in, out, and the language, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.integration.console.browser import watched
from tests.integration.serving import Served, serve
from tests.program import rerankd

REFUSED = ("Failed to load resource: the server responded with a status of 403",)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Return a key file with an admin key and a key of one tenant."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    clear = []
    for flags in (["ops", "--admin"], ["search"]):
        made = rerankd("keys", "add", *flags, "--file", str(path), "--json")
        assert made.returncode == 0, made.stderr
        clear.append(next(word.strip('",') for word in made.stdout.split() if word.strip('",').startswith("rk-")))
    return path, clear[0], clear[1]


@pytest.fixture(scope="module")
def served(keys: tuple[Path, str, str]) -> Iterator[Served]:
    with serve(env={"RERANKD_API_KEYS_FILE": str(keys[0])}) as running:
        yield running


def test_a_page_asks_for_a_key_and_goes_on(browser: Browser, served: Served, keys: tuple[Path, str, str]) -> None:
    with watched(browser, served.url, allow=REFUSED) as window:
        page = window.open("/traces")
        expect(page).to_have_title("Sign in · rerankd console")
        window.check_accessible()
        page.get_by_label("API key").fill("rk-wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("unknown")
        page.get_by_label("API key").fill(keys[2])
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{served.url}/console/traces")
        cookie = next(each for each in page.context.cookies() if each["name"] == "rerankd_session")
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert cookie["path"] == "/console"
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_title("Sign in · rerankd console")
        window.check()


def test_the_browser_language_and_the_switch(browser: Browser, served: Served) -> None:
    with watched(browser, served.url, locale="zh-CN") as window:
        page = window.open("/sign-in")
        expect(page.get_by_role("heading")).to_have_text("登录")
        page.get_by_role("button", name="English").click()
        expect(page.get_by_role("heading")).to_have_text("Sign in")
        assert page.locator("html").get_attribute("lang") == "en"
        window.check()


def test_json_needs_a_key_as_the_api_does(served: Served, keys: tuple[Path, str, str]) -> None:
    with httpx.Client(base_url=served.url, trust_env=False) as client:
        assert client.get("/console/traces.json").status_code == 401
        assert client.get("/console/traces.json", headers={"authorization": f"Bearer {keys[1]}"}).status_code == 200


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example/console", "/v1/models", "/console/../v1"])
def test_signing_in_leads_nowhere_else(address: str, served: Served, keys: tuple[Path, str, str]) -> None:
    with httpx.Client(base_url=served.url, trust_env=False) as client:
        response = client.post("/console/sign-in", data={"key": keys[2], "next": address})
        assert response.status_code == 303
        assert response.headers["location"] == "/console"
