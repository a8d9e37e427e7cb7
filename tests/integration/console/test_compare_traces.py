"""Recorded rankings on the page that compares: shown, replayed, and hidden from other tenants."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, expect

from tests.integration.console.browser import watched
from tests.integration.console.compare_site import (
    DOCUMENTS,
    DRAFT,
    QUERY,
    TEXTS,
    Site,
    open_site,
    order,
    ranked_by,
    sign_in,
    traced,
)
from tests.integration.serving import until


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site")) as opened:
        yield opened


@pytest.fixture(scope="module")
def trace(site: Site) -> int:
    """Return the number of a trace of the tenant `search`."""
    return traced(site, top_n=3, threshold=0.1)[0]


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


def test_feedback_of_users_is_on_its_documents(browser: Browser, site: Site) -> None:
    number, results = traced(site, query=f"{QUERY} once more")
    shown = site.ask("GET", f"/console/traces/{number}.json", site.search).json()
    items = [{"kind": "click", "index": results[1]}, {"kind": "thumb", "index": results[0], "value": -1}]
    body = {"request_id": shown["trace"]["request_id"], "items": items}
    assert site.ask("POST", "/v1/feedback", site.search, json=body).status_code == 202
    for suffix in ("", "&model=tiny"):
        compared = site.ask("GET", f"/console/compare.json?trace={number}{suffix}", site.search).json()
        judged = {row["index"]: row["feedback"] for row in compared["comparison"]["documents"] if row["feedback"]}
        assert judged == {results[1]: "chosen", results[0]: "rejected"}
    with watched(browser, site.url) as window:
        page = sign_in(window, site.search, f"/compare?trace={number}")
        expect(page.locator(f"#comparison-right-{results[1]}")).to_contain_text("chosen by users")
        expect(page.locator(f"#comparison-left-{results[0]}")).to_contain_text("rejected by users")
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
