"""A service whose rankings are compared, and what people do on the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from tests.integration.console.browser import Watched
from tests.integration.serving import Served, serve, until
from tests.program import rerankd
from tests.recorded.inputs import TINY

RULES = """
rules:
  - name: shipping last
    documents: {terms: [shipping]}
    bury: 1.5
"""
DRAFT = """rules:
  - name: holidays first
    documents: {terms: [holidays]}
    pin: 1
  - name: no gardening
    documents: {terms: [gardening]}
    filter: true
"""
QUERY = "how long is the kettle warranty?"
TEXTS = [
    "Shipping to islands takes two more days.",
    "Our office is closed on public holidays.",
    "Passages about gardening answer other questions.",
    "The warranty of the kettle covers two years from the date of purchase.",
    "To claim the warranty, send the kettle with its receipt to the service centre.",
    "A kettle boils water in three minutes. " * 40,
]
DOCUMENTS = [{"text": text, "id": f"d{number}", "score": 9.0 - number} for number, text in enumerate(TEXTS)]
HOSTILE = [
    "<script>document.title = 'taken'</script>",
    "<img src=x onerror=\"document.title = 'taken'\">",
    "</textarea></script><svg onload=document.title='taken'>",
    "\u202e\u2066kettle warranty\u202c and more",
    "x" * 1_000_000,
    "kett\u200ble war\u00adranty \ufeff",
    "\x1b[31mred\x1b[0m \x07\x9b",
    "{{ 7 * 7 }} ${7 * 7} {% if %} %s",
]
REFUSED = ("Failed to load resource: the server responded with a status of 4",)


@dataclass(frozen=True)
class Site:
    """A service, and keys for it."""

    served: Served
    traces: Path
    admin: str
    search: str
    other: str
    poor: str

    @property
    def url(self) -> str:
        return self.served.url

    def ask(self, method: str, path: str, key: str, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", "accept": "application/json"}
        return httpx.request(method, f"{self.url}{path}", headers=headers, trust_env=False, timeout=30, **options)

    def rank(self, key: str, **body: Any) -> httpx.Response:
        return self.ask("POST", "/v1/rerank", key, json={"query": QUERY, "documents": DOCUMENTS} | body)


@contextmanager
def open_site(folder: Path) -> Iterator[Site]:
    """Start a service with keys, rules and a second model."""
    rules, keys = folder / "rules.yaml", folder / "keys.json"
    rules.write_text(RULES)
    clear = []
    for flags in (["ops", "--admin"], ["search"], ["other"], ["poor", "--tokens-per-day", "1000"]):
        made = rerankd("keys", "add", *flags, "--file", str(keys), "--json")
        assert made.returncode == 0, made.stderr
        clear.append(next(word.strip('",') for word in made.stdout.split() if word.strip('",').startswith("rk-")))
    env = {
        "RERANKD_API_KEYS_FILE": str(keys),
        "RERANKD_MODELS": json.dumps({"tiny": str(TINY)}),
        "RERANKD_RULES": str(rules),
        "RERANKD_TRACES_SECONDS": "0.05",
        "RERANKD_TRACES_URL": f"sqlite:///{folder}/traces.sqlite",
    }
    with serve(env=env) as served:
        yield Site(served, folder / "traces.sqlite", *clear)


def traced(site: Site, **body: Any) -> tuple[int, list[int]]:
    """Rank as the tenant `search`; return the number of the trace, and the documents in their order."""
    answer = site.rank(site.search, **body).json()
    numbers: dict[str, int] = {}

    def is_written() -> bool:
        rows = site.ask("GET", "/console/traces.json", site.search).json()["traces"]
        numbers.update({row["request_id"]: row["id"] for row in rows})
        return answer["id"] in numbers

    until(is_written, "the trace written", 20)
    return numbers[answer["id"]], [row["index"] for row in answer["results"]]


def sign_in(window: Watched, key: str, path: str) -> Page:
    page = window.open(path)
    page.locator("input[name=key]").fill(key)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/sign-in" not in url)
    return page


def order(page: Page, side: str = "right", *, returned: bool = False) -> list[int]:
    items = page.locator(f"ol[data-side={side}] > li{':not(.out)' if returned else ''}")
    return [int(index) for index in items.evaluate_all("items => items.map((item) => item.dataset.index)")]


def ranked_by(site: Site, key: str, **body: Any) -> list[int]:
    return [row["index"] for row in site.rank(key, **body).json()["results"]]


def compare(page: Page, query: str, documents: str) -> None:
    page.get_by_label("Query", exact=True).fill(query)
    page.get_by_label("Documents").fill(documents)
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".comparison")).to_be_visible()


def set_slider(page: Page, name: str, value: float) -> None:
    slider = page.locator(f".controls input[name={name}]")
    slider.evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})); }",
        str(value),
    )
