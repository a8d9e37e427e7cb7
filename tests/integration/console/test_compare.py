"""The page that compares two rankings, in a real browser against a real service."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from rerankd.ranking.activation import activate
from rerankd.ranking.order import order_of, rank_documents
from rerankd.types import Adjustment, Document, Fusion, PairScore
from tests.integration.console.browser import watched
from tests.integration.console.compare_site import (
    DOCUMENTS,
    DRAFT,
    HOSTILE,
    QUERY,
    REFUSED,
    TEXTS,
    Site,
    compare,
    open_site,
    order,
    ranked_by,
    set_slider,
    sign_in,
)
from tests.recorded.inputs import TINY


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site")) as opened:
        yield opened


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
