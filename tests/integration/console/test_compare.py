"""The page that compares two rankings, in a real browser against a real service."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from rerankd.ranking.activation import activate
from rerankd.ranking.order import order_of, rank_documents
from rerankd.types import Adjustment, Document, Fusion, PairScore
from tests.integration.console.browser import Watched, watched
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
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


@pytest.fixture(scope="module")
def trace(site: Site) -> int:
    """Return the number of a trace of the tenant `search`."""
    return traced(site, top_n=3, threshold=0.1)[0]


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


def test_pasted_documents_by_keyboard_alone(browser: Browser, site: Site) -> None:
    with watched(browser, site.url) as window:
        page = sign_in(window, site.search, "/compare")
        expect(page.get_by_label("Query", exact=True)).to_be_focused()
        page.keyboard.type(QUERY)
        page.keyboard.press("Tab")
        page.keyboard.insert_text("\n".join(map(json.dumps, DOCUMENTS)))
        page.keyboard.press("Tab")  # the file
        page.keyboard.press("Tab")
        expect(page.get_by_label("Before and after")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Compare")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(".comparison")).to_be_visible()
        assert order(page, "left") == list(range(6))
        assert order(page) == ranked_by(site, site.search)
        expect(page.locator("#comparison-right-0 .tag.rule")).to_have_text("shipping last: bury -1.5")
        expect(page.locator("#comparison-right-3 mark")).to_have_text(["warranty", "kettle"])
        expect(page.locator("#comparison-right-3 .move")).to_contain_text("▲")
        expect(page.locator("svg.lines path")).to_have_count(6)

        steps = itertools.count()
        while not page.evaluate("document.activeElement.name === 'top_n'"):
            page.keyboard.press("Tab")
            assert next(steps) < 60
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")  # the first two
        assert order(page, returned=True) == ranked_by(site, site.search, top_n=2)
        expect(page.locator("[data-count=only_left]")).to_have_text("2")
        page.keyboard.press("Tab")
        page.keyboard.press("w")  # weighted fusion
        expected = ranked_by(site, site.search, top_n=2, fusion="weighted", fusion_weight=0.5)
        assert order(page, returned=True) == expected
        page.keyboard.press("Tab")
        page.keyboard.press("End")  # the first stage alone, or nearly
        assert order(page, returned=True) == ranked_by(site, site.search, top_n=2, fusion="weighted", fusion_weight=5)
        page.keyboard.press("Tab")
        page.keyboard.type("2")
        moved = page.locator("ol[data-side=right] > li:not([hidden])").evaluate_all(
            "items => items.map((item) => Number(item.querySelector('.move').textContent.replace(/[^0-9]/g, '')))"
        )
        assert all(move > 2 for move in moved)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # reset
        expect(page.locator("ol[data-side=right] > li").first).to_have_id("comparison-right-3")
        assert order(page) == ranked_by(site, site.search)
        expect(page.locator("ol[data-side=right] > li[hidden]")).to_have_count(0)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # from a document to the same one in the other list
        expect(page.locator("#comparison-right-0")).to_be_in_viewport()
        window.check()
        window.check_accessible()


def test_chinese(browser: Browser, site: Site) -> None:
    documents = ["快递一般三天送达。", "这款水壶的保修期为两年。", "公司在节假日休息。"]
    with watched(browser, site.url, locale="zh-CN") as window:
        page = sign_in(window, site.search, "/compare")
        page.get_by_label("查询", exact=True).fill("水壶保修多久？")
        page.get_by_label("文档").fill("\n".join(documents))
        page.get_by_role("button", name="对比").click()
        expect(page.get_by_role("heading", name="重排序前")).to_be_visible()
        expect(page.locator("ol[data-side=right] > li mark")).to_have_text(["水壶", "保修"])
        assert order(page)[0] == 1
        window.check()
        window.check_accessible()


def test_the_browser_sorts_as_the_server_does(browser: Browser, site: Site) -> None:
    random.seed(23)
    cases, expected = [], []
    for _ in range(200):
        documents, scores, adjustments = _random_ranking()
        fusion = random.choice([None, Fusion("weighted", random.choice([0.0, 0.5, 1.0, 3.7])), Fusion("rrf", 1.0)])
        top_n = random.choice([None, random.randint(1, len(documents))])
        threshold = random.choice([0.0, 0.0, random.random()])
        boosted = [score.raw_score + each.boost for score, each in zip(scores, adjustments, strict=True)]
        rows = [
            {
                "raw": score.raw_score,
                "boost": each.boost,
                "pin": each.pin_to,
                "filtered": each.filtered,
                "blank": not document.text.strip(),
                "first": document.metadata.get("score"),
                "score": value,
            }
            for document, score, each, value in zip(
                documents, scores, adjustments, activate(boosted, "sigmoid").tolist(), strict=True
            )
        ]
        options = {
            "fusion": fusion.method if fusion else "none",
            "weight": fusion.weight if fusion else 0,
            "topN": top_n,
            "threshold": threshold,
        }
        cases.append((rows, options))
        kept = rank_documents(documents, scores, top_n, "sigmoid", threshold, adjustments, fusion)
        expected.append([order_of(documents, scores, adjustments, fusion), [each.index for each in kept]])
    with watched(browser, site.url) as window:
        page = sign_in(window, site.search, "/compare")
        sorted_there = page.evaluate(
            """cases => JSON.parse(cases).map(([rows, options]) => {
              const { orderOf, returnedOf } = globalThis.rerankdRanking;
              const documents = rows.map((row) => ({ ...row, first: row.first ?? NaN }));
              const order = orderOf(documents, options);
              return [order, returnedOf(documents, order, { ...options, topN: options.topN ?? Infinity })];
            })""",
            json.dumps(cases),
        )
        assert sorted_there == expected
        window.check()


def _random_ranking() -> tuple[list[Document], list[PairScore], list[Adjustment]]:
    """Return documents, scores and effects of rules with many ties; blank documents have scores below the others."""
    count = random.choice([1, 2, 7, 8, 9, 50, 129, 300])
    with_first, is_coarse = random.random() < 0.7, random.random() < 0.5
    documents, scores, adjustments = [], [], []
    for _ in range(count):
        is_blank = random.random() < 0.03
        first = random.randint(0, 4) if is_coarse else random.gauss(10, 5)
        raw = -20.0 if is_blank else float(random.randint(-3, 3) if is_coarse else random.gauss(0, 3))
        documents.append(Document(" " if is_blank else "a", None, {"score": first} if with_first else {}))
        scores.append(PairScore(raw, 5, False))
        pin = random.randint(1, count + 3) if random.random() < 0.05 else 0
        boost = random.choice([0.0, 0.0, 0.5, -1.25])
        adjustments.append(Adjustment(boost, pin, random.random() < 0.05))
    return documents, scores, adjustments


def test_the_request_on_the_screen_runs_as_curl_and_as_python(browser: Browser, site: Site) -> None:
    documents = [
        *DOCUMENTS,
        {"text": 'it\'s $HOME `x` "q" \\ \x1b[0m \u2028 猫 \u202e', "metadata": {"page": None, "new": True}},
    ]
    with watched(browser, site.url) as window:
        page = sign_in(window, site.search, "/compare")
        compare(page, QUERY, json.dumps(documents))
        page.locator(".controls select").select_option("rrf")
        set_slider(page, "fusion_weight", 0.85)
        set_slider(page, "top_n", 4)
        set_slider(page, "threshold", 0.05)
        shown = order(page, returned=True)
        assert 0 < len(shown) <= 4
        curl, python = (page.locator(f"#{name}").text_content() or "" for name in ("curl", "python"))
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy as curl").click()
        expect(page.get_by_role("button", name="Copy as curl")).to_have_class("done")
        assert page.evaluate("navigator.clipboard.readText()") == curl
        window.check()
    assert "\x1b" not in curl + python
    assert "\u202e" not in curl + python
    env = {**os.environ, "RERANKD_API_KEY": site.search, "NO_PROXY": "127.0.0.1"}
    answer = subprocess.run(["bash", "-c", curl], env=env, capture_output=True, timeout=30, check=True)
    assert [row["index"] for row in json.loads(answer.stdout)["results"]] == shown
    ran = subprocess.run([sys.executable, "-c", python], env=env, capture_output=True, timeout=30, check=True)
    assert [int(line.split()[1]) for line in ran.stdout.decode().splitlines()] == shown


def test_two_models(browser: Browser, site: Site) -> None:
    with watched(browser, site.url) as window:
        page = sign_in(window, site.search, "/compare")
        page.get_by_label("Two models").check()
        page.get_by_label("Model on the right").select_option("tiny")
        compare(page, QUERY, "\n".join(TEXTS))
        expect(page.locator("h3").nth(0)).to_contain_text("mini")
        expect(page.locator("h3").nth(1)).to_contain_text("tiny")
        plain = {"documents": TEXTS}
        assert order(page, "left") == ranked_by(site, site.search, **plain)
        assert order(page) == ranked_by(site, site.search, model="tiny", **plain)
        assert '"model":"tiny"' in (page.locator("#curl").text_content() or "")
        window.check()


def test_other_models_are_loaded_for_admins_only(browser: Browser, site: Site, tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "copy")
    form = {"mode": "models", "query": QUERY, "documents": json.dumps(TEXTS), "other_model": str(folder)}
    refused = site.ask("POST", "/console/compare", site.search, data=form)
    assert refused.status_code == 403
    assert "does not serve" in refused.text
    with watched(browser, site.url) as window:
        page = sign_in(window, site.admin, "/compare")
        page.get_by_label("Two models").check()
        page.get_by_label("Model on the right").fill(form["other_model"])
        compare(page, QUERY, "\n".join(TEXTS))
        assert order(page) == ranked_by(site, site.admin, model="tiny", documents=TEXTS)
        assert '"model":"mini"' in (page.locator("#curl").text_content() or "")
        window.check()


def test_draft_rules(browser: Browser, site: Site) -> None:
    with watched(browser, site.url, allow=REFUSED) as window:
        page = sign_in(window, site.search, "/compare")
        page.get_by_label("Rules in force and draft rules").check()
        draft = page.get_by_label("Draft rules", exact=True)
        draft.fill(DRAFT.replace("pin: 1", "pin: first"))
        page.get_by_label("Query", exact=True).fill(QUERY)
        page.get_by_label("Documents").fill("\n".join(TEXTS))
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_role("alert")).to_contain_text("Draft rules, line 4: rule 'holidays first'.pin")
        expect(draft).to_be_focused()
        assert (
            draft.evaluate("field => field.value.slice(field.selectionStart, field.selectionEnd)") == "    pin: first"
        )
        window.check_accessible()
        draft.fill(DRAFT)
        page.get_by_role("button", name="Compare").click()
        expect(page.locator(".comparison")).to_be_visible()
        assert order(page, "left") == ranked_by(site, site.search, documents=TEXTS)
        assert order(page)[0] == 1
        expect(page.locator("#comparison-right-1 .tag.rule")).to_have_text("holidays first: pin +1")
        expect(page.locator("#comparison-right-2 .rank")).to_have_text("–")
        expect(page.locator("#comparison-right-2")).to_contain_text("filtered by a rule")
        expect(page.locator("[data-count=only_left]")).to_have_text("1")
        window.check()


def test_a_trace_is_shown_replayed_and_tried_with_draft_rules(browser: Browser, site: Site, trace: int) -> None:
    with watched(browser, site.url) as window:
        page = sign_in(window, site.search, f"/compare?trace={trace}")
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Trace {trace}")
        assert order(page, returned=True) == ranked_by(site, site.search, top_n=3, threshold=0.1)
        label = page.get_by_role("link", name="Label these documents")
        assert label.get_attribute("href") == f"/console/label/{trace}"
        assert page.locator("main a[href='/console/traces']").count() == 1
        window.check_accessible()
        page.get_by_label("Replay on model").select_option("tiny")
        page.get_by_role("button", name="Replay").click()
        page.wait_for_url(f"**/console/compare?trace={trace}&model=tiny")
        expect(page.locator("h3").nth(0)).to_contain_text("mini as recorded")
        shown = page.locator("ol[data-side=right] > li:not(.out) .rank")
        expect(shown.first).to_have_text("1")
        page.get_by_text("Try draft rules").click()
        page.get_by_label("Draft rules", exact=True).fill(DRAFT)
        page.get_by_role("button", name="Compare").click()
        expect(page.locator("h3").nth(1)).to_contain_text("Draft rules")
        assert order(page)[0] == 1
        window.check()


def test_a_replay_on_the_same_model_gives_the_same_ranking(site: Site) -> None:
    options = {"max_length": 24, "long_documents": "chunk", "fusion": "weighted", "fusion_weight": 0.3, "top_n": 4}
    number, results = traced(site, query=f"{QUERY} again", **options)
    address = f"/console/compare.json?trace={number}&model=mini"
    shown = site.ask("GET", address, site.search).json()
    documents, request = shown["comparison"]["documents"], shown["request"]
    assert [document["moved"] for document in documents] == [0] * len(documents)
    assert [document["left"]["chunks"] for document in documents] == [row["right"]["chunks"] for row in documents]
    assert max(document["left"]["chunks"] for document in documents) > 1
    kept = [index for index in shown["comparison"]["right"]["order"] if documents[index]["right"]["returned"]]
    again = site.ask("POST", "/v1/rerank", site.search, json=request).json()
    assert kept == results == [row["index"] for row in again["results"]]


def test_of_a_long_trace_the_foremost_documents_are_shown(site: Site) -> None:
    number, results = traced(site, documents=[f"passage {number}" for number in range(600)], model="tiny", top_n=5)
    shown = site.ask("GET", f"/console/compare.json?trace={number}", site.search).json()
    documents = shown["comparison"]["documents"]
    assert (shown["documents"], len(documents), shown["comparison"]["controls"]) == (600, 500, None)
    right = [documents[index] for index in shown["comparison"]["right"]["order"]]
    assert [int(document["text"].split()[1]) for document in right if document["right"]["returned"]] == results


def test_a_trace_of_which_a_text_was_erased(browser: Browser, site: Site) -> None:
    number, _ = traced(site, documents=["a kettle", "This text is erased."])
    with closing(sqlite3.connect(site.traces)) as database, database:
        database.execute("DELETE FROM passage WHERE size = ?", (len("This text is erased."),))
    refused = site.ask("GET", f"/console/compare.json?trace={number}&model=tiny", site.search)
    assert refused.status_code == 400
    assert "one of its texts was erased" in refused.json()["message"]
    with watched(browser, site.url) as window:
        page = sign_in(window, site.search, f"/compare?trace={number}")
        expect(page.locator("#comparison-right-1")).to_contain_text("(erased)")
        expect(page.locator("#request")).to_have_count(0)
        window.check()


def test_json_says_the_same(site: Site, trace: int) -> None:
    shown = site.ask("GET", f"/console/compare.json?trace={trace}&model=tiny", site.search).json()
    assert shown["comparison"]["left"]["name"] == "mini as recorded"
    assert shown["request"]["top_n"] == 3
    form = {"query": QUERY, "documents": json.dumps(DOCUMENTS)}
    compared = site.ask("POST", "/console/compare", site.search, data=form).json()
    assert compared["comparison"]["right"]["order"] == ranked_by(site, site.search)
    assert compared["comparison"]["documents"][3]["highlights"] == [[4, 12], [20, 26]]


def test_traces_of_another_tenant_are_not_there(site: Site, trace: int) -> None:
    for path in (f"/console/compare.json?trace={trace}", f"/console/compare.json?trace={trace}&model=tiny"):
        assert site.ask("GET", path, site.other).status_code == 404
        assert site.ask("GET", path, site.admin).status_code == 200
    form = {"trace": str(trace), "rules": DRAFT, "mode": "rules"}
    assert site.ask("POST", "/console/compare", site.other, data=form).status_code == 404
    assert site.ask("POST", "/console/compare", site.search, data=form).status_code == 200
    missing = site.ask("GET", f"/console/compare.json?trace={trace + 10_000}", site.other)
    assert missing.status_code == 404
    assert "rules" not in site.ask("GET", "/console/compare.json", site.search).json()["form"]["rules"]
    assert "shipping" in site.ask("GET", "/console/compare.json", site.admin).json()["form"]["rules"]


def test_what_is_computed_is_charged_and_leaves_no_trace(site: Site, trace: int) -> None:
    form = {"query": QUERY, "documents": json.dumps(TEXTS)}
    answers = [
        site.ask("POST", "/console/compare", site.poor, data=form | {"query": query}) for query in ("one", "two")
    ]
    assert [answer.status_code for answer in answers] == [200, 429]
    traces = len(site.ask("GET", "/console/traces.json", site.other).json()["traces"])
    assert site.ask("POST", "/console/compare", site.other, data=form).status_code == 200
    assert site.rank(site.other).status_code == 200
    listed = f"{site.url}/console/traces.json"
    until(lambda: len(site.ask("GET", "/console/traces.json", site.other).json()["traces"]) > traces, listed, 20)
    assert len(site.ask("GET", "/console/traces.json", site.other).json()["traces"]) == traces + 1


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"query": " ", "documents": "a"}, "The query is empty"),
        ({"query": "q", "documents": ""}, "There are no documents"),
        ({"query": "q", "documents": "a", "mode": "other"}, "mode"),
        ({"query": "q" * 10_001, "documents": "a"}, "query"),
        ({"query": "q", "documents": "a\n" * 501}, "more than 500"),
        ({"query": "q", "documents": '{"text": 7}\n'}, "Documents, item 1"),
        ({"query": "q", "documents": "a", "mode": "rules"}, "draft rules are empty"),
        ({"query": "q", "documents": "a", "mode": "rules", "rules": "- a\n  b: ["}, "line 2"),
        ({"trace": "0", "mode": "rules"}, "trace"),
    ],
)
def test_what_is_wrong_is_said(site: Site, form: dict[str, str], sentence: str) -> None:
    answer = site.ask("POST", "/console/compare", site.search, data=form)
    assert answer.status_code in (400, 413)
    assert sentence in answer.json()["message"]


def test_a_file_is_read_and_shown_in_the_form(browser: Browser, site: Site) -> None:
    rows = "id,text,score\n" + "".join(f'd{number},"{text}",{number}\n' for number, text in enumerate(TEXTS))
    with watched(browser, site.url, allow=REFUSED) as window:
        page = sign_in(window, site.search, "/compare")
        page.get_by_label("Query", exact=True).fill(QUERY)
        chooser = page.get_by_label("Or a file")
        chooser.set_input_files({"name": "a.csv", "mimeType": "text/csv", "buffer": b"id,body\n1,x\n"})
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_role("alert")).to_contain_text("no text under 'text'")
        expect(page.get_by_label("Query", exact=True)).to_have_value(QUERY)
        chooser.set_input_files({"name": "a.csv", "mimeType": "text/csv", "buffer": rows.encode()})
        page.get_by_role("button", name="Compare").click()
        expect(page.locator(".comparison")).to_be_visible()
        assert order(page) == ranked_by(site, site.search, documents=TEXTS)
        expect(page.locator("#comparison-left-2 .raw")).to_contain_text("2.000")
        page.get_by_text("Query, documents and models").click()
        assert page.get_by_label("Documents").input_value().startswith('{"text":"Shipping')
        window.check()


def test_hostile_texts_are_text(browser: Browser, site: Site) -> None:
    documents = [{"text": text, "id": text[:50], "title": text[:100]} for text in HOSTILE]
    with watched(browser, site.url, allow=REFUSED) as window:
        page = sign_in(window, site.search, "/compare")
        compare(page, HOSTILE[0] + HOSTILE[3], "\n".join(json.dumps(row, ensure_ascii=False) for row in documents))
        expect(page.locator("ol[data-side=right] > li")).to_have_count(len(HOSTILE))
        expect(page.locator("main script:not([type='application/json'])")).to_have_count(0)
        assert page.title() == "Compare · rerankd console"
        assert page.locator("main").inner_text().count("\u202e") == 0
        window.check()
        window.check_accessible()
        page.get_by_text("Query, documents and models").click()
        page.get_by_label("Rules in force and draft rules").check()
        page.get_by_label("Draft rules", exact=True).fill("".join(HOSTILE[:4]))
        page.get_by_label("Documents").fill(HOSTILE[2])
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_role("alert")).to_be_visible()
        assert page.title() == "Compare · rerankd console"
        window.check()


def test_fifty_documents_are_answered_within_a_second(site: Site) -> None:
    texts = [f"Passage {number} on kettles, their warranty and how they are shipped. " * 2 for number in range(50)]
    bodies = [{"query": f"kettle warranty {attempt}", "documents": texts} for attempt in range(4)]

    def seconds(path: str, **body: Any) -> float:
        started = time.perf_counter()
        answer = site.ask("POST", path, site.search, **body)
        assert answer.status_code == 200, answer.text
        return time.perf_counter() - started

    scoring = min(seconds("/v1/rerank", json=body) for body in bodies[:2])
    forms = [body | {"documents": json.dumps(texts)} for body in bodies[2:]]
    # On a machine of its own 1 s is the limit; where others compute too, scoring tells how slow it is.
    assert min(seconds("/console/compare", data=form) for form in forms) < max(1.0, 3 * scoring)
