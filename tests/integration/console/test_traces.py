"""The pages of traces in a real browser: find one, look at it, page, export; hostile texts; other tenants."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from rerankd.feedback.case_store import flag_request
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.store import add_feedback
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Adjustment, Document, MatchedRule, PairScore, RankingRecord
from tests.integration.console.browser import Watched, watched
from tests.integration.serving import Served, serve
from tests.unit.traces.rankings import ranking

COUNT = 120
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"' onmouseover=alert(1) "
    "\u202egnp.exe\u202c \u200bzero\u200bwidth \x1b[31mred {{ 7 * 7 }} "
)
HUGE = "x" * 1_000_000
MISSING = ("Failed to load resource: the server responded with a status of 404",)


class Store:
    """A served store: keys by name, and tenants by name."""

    def __init__(self, folder: Path) -> None:
        made = {"ops": new_key("ops", admin=True), "ours": new_key("ours"), "theirs": new_key("theirs")}
        write_keys(folder / "keys.json", [key for _, key in made.values()])
        self.clear = {name: clear for name, (clear, _) in made.items()}
        self.tenants = {name: key.tenant_id for name, (_, key) in made.items()}
        self.url = f"sqlite:///{folder}/traces.sqlite"
        self.env = {"RERANKD_API_KEYS_FILE": str(folder / "keys.json"), "RERANKD_TRACES_URL": self.url}
        self.theirs: list[int] = []
        self.hostile = 0
        with closing(TraceStore(self.url)) as store:
            self._write(store)

    def _write(self, store: TraceStore) -> None:
        ours, theirs = self.tenants["ours"], self.tenants["theirs"]
        store.write([build_trace(self._ranking(number, ours)) for number in range(COUNT)])
        store.write([build_trace(ranking(f"their secret {number}", tenant=theirs)) for number in range(3)])
        store.write([build_trace(self._hostile(ours))])
        add_feedback(store, [FeedbackEvent("r7", "click", 2, tenant=ours), FeedbackEvent("r7", "thumb", tenant=ours)])
        add_feedback(store, [FeedbackEvent("hostile", "click", document_id=HOSTILE[:500], tenant=ours)])
        flag_request(store, "r9", ours, note=HOSTILE)
        self.theirs = [trace.id for trace in store.list_traces(TraceFilter(tenant=theirs))]
        self.hostile = store.list_traces(TraceFilter(request_id="hostile"))[0].id

    def _ranking(self, number: int, tenant: str) -> RankingRecord:
        documents = [Document(f"Rule {position} of question {number}", f"d{position}") for position in range(6)]
        query = f"travel policy {number}" if number % 2 else f"差旅报销标准 {number}"
        scores = [float((number + position * 3) % 7) for position in range(6)]
        record = ranking(query, documents, scores, request_id=f"r{number}", tenant=tenant)
        tested = number % 10 == 0
        timings = {**record.timings, "total": 10.0 + number}
        return replace(
            record,
            time=record.time - 60 * (COUNT - number),
            timings=timings,
            version="v2" if number % 5 == 0 else "v1",
            experiment="ab" if tested else "",
            variant="challenger" if tested else "",
        )

    def _hostile(self, tenant: str) -> RankingRecord:
        documents = [
            Document(HOSTILE + HUGE, HOSTILE, {HOSTILE: HOSTILE}),
            Document("plain", "d2"),
            Document("hidden document", "d3"),
        ]
        record = ranking(HOSTILE + HUGE, documents, request_id="hostile", tenant=tenant)
        rules = [Adjustment(1.0, 0, False, (MatchedRule(HOSTILE, "boost", 1.0),)), Adjustment()]
        hides = Adjustment(0.0, 0, True, (MatchedRule("hides", "filter", 0.0),))
        return replace(
            record,
            adjustments=(*rules, hides),
            model=HOSTILE,
            version=HOSTILE,
            experiment=HOSTILE,
            variant=HOSTILE,
            scores=[PairScore(score, 10, True) for score in (1.0, 2.0, 3.0)],
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("traces"))


@pytest.fixture(scope="module")
def served(store: Store) -> Iterator[Served]:
    with serve(env=store.env) as running:
        yield running


def sign_in(window: Watched, key: str, path: str, label: str = "API key") -> Page:
    page = window.open(path)
    page.get_by_label(label).fill(key)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).not_to_have_text(re.compile("Sign in|登录"))
    return page


def rows(page: Page) -> list[str]:
    return page.locator("table.traces tbody td.query").all_inner_texts()


def test_a_trace_is_found_looked_at_and_exported(browser: Browser, served: Served, store: Store) -> None:
    with watched(browser, served.url) as window:
        page = sign_in(window, store.clear["ours"], "/traces")
        expect(page.locator("table.traces tbody tr")).to_have_count(50)
        page.get_by_label("Search in queries").fill("POLICY travel")
        page.get_by_label("Sort by").select_option("Slowest")
        expect(page).to_have_url(re.compile(r"/console/traces\?q=POLICY%20travel&order=slowest$"))
        json_link = page.get_by_role("link", name="This page as JSON")
        expect(json_link).to_have_attribute("href", "/console/traces.json?q=POLICY%20travel&order=slowest")
        expect(page.locator("table.traces tbody td.query").first).to_have_text("travel policy 119")
        page.get_by_label("With feedback").check()
        expect(page.locator("table.traces tbody tr")).to_have_count(1)
        row = page.locator("table.traces tbody tr")
        expect(row).to_contain_text("2 feedback")
        number = row.locator("input").get_attribute("value")
        assert row.get_by_role("link", name="Compare").get_attribute("href") == f"/console/compare?trace={number}"
        replay = row.get_by_role("link", name="Replay").get_attribute("href")
        assert replay is not None
        assert replay.startswith(f"/console/compare?trace={number}&model=")
        assert row.get_by_role("link", name="Label").get_attribute("href") == f"/console/label/{number}"
        window.check_accessible()
        export = page.get_by_role("button", name="Export as JSONL")
        expect(export).to_be_disabled()
        page.get_by_label("Select all traces on this page").check()
        expect(export).to_have_text("Export as JSONL (1)")
        with page.expect_download() as download:
            export.click()
        (line,) = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
        assert json.loads(line)["query"] == "travel policy 7"
        assert len(json.loads(line)["candidates"]) == 6
        row.locator("td.time a").click()
        expect(page.locator("h1")).to_have_text(f"Trace {number}")
        expect(page.get_by_role("table", name="Feedback events").locator("tbody tr")).to_have_count(2)
        expect(page.get_by_role("table", name="Documents").locator("tbody tr")).to_have_count(6)
        window.check_accessible()
        window.check()


def test_in_chinese(browser: Browser, served: Served, store: Store) -> None:
    with watched(browser, served.url, locale="zh-CN") as window:
        page = sign_in(window, store.clear["ours"], "/traces", "API 密钥")
        expect(page.locator("h1")).to_have_text("排序记录")
        page.get_by_label("搜索查询").fill("报销")
        page.get_by_label("排序方式").select_option("最早优先")
        expect(page.locator("table.traces tbody td.query").first).to_have_text("差旅报销标准 0")
        page.locator("table.traces tbody td.time a").first.click()
        expect(page.locator("h1")).to_contain_text("排序记录")
        expect(page.locator("main")).to_contain_text("推理")
        window.check_accessible()
        window.check()


def test_going_back_shows_the_list_before(browser: Browser, served: Served, store: Store) -> None:
    with watched(browser, served.url) as window:
        page = sign_in(window, store.clear["ours"], "/traces?q=policy&order=oldest")
        expect(page.locator("table.traces tbody td.query").first).to_have_text("travel policy 1")
        page.get_by_label("Sort by").select_option("Newest first")
        expect(page.locator("table.traces tbody td.query").first).to_have_text("travel policy 119")
        page.go_back()
        expect(page.locator("table.traces tbody td.query").first).to_have_text("travel policy 1")
        expect(page.get_by_label("Sort by")).to_have_value("oldest")
        expect(page.get_by_role("button", name="Export as JSONL")).to_be_disabled()
        window.check()


def test_pages_with_the_keyboard(browser: Browser, served: Served, store: Store) -> None:
    with watched(browser, served.url) as window:
        page = sign_in(window, store.clear["ours"], "/traces?order=oldest")
        first = rows(page)
        page.get_by_role("link", name="Next page").focus()
        page.keyboard.press("Enter")
        expect(page.locator("table.traces tbody td.query").first).not_to_have_text(first[0])
        second = rows(page)
        assert not set(first) & set(second)
        page.get_by_role("link", name="Previous page").focus()
        page.keyboard.press("Enter")
        expect(page.locator("table.traces tbody td.query").first).to_have_text(first[0])
        assert rows(page) == first
        expect(page.get_by_role("link", name="Previous page")).to_have_count(0)
        window.check()


def test_every_filter(served: Served, store: Store) -> None:
    with client(served, store, "ours") as asked:

        def names(query: str) -> set[str]:
            return {row["request_id"] for row in asked.get(f"/console/traces.json?{query}").json()["traces"]}

        assert names("version=v2&order=oldest") == {f"r{number}" for number in range(0, COUNT, 5)}
        assert names("experiment=ab&variant=challenger") == {f"r{number}" for number in range(0, COUNT, 10)}
        assert names("case=1") == {"r9"}
        assert names("feedback=1") == {"r7", "hostile"}
        assert names("model=mini&q=policy+119") == {"r119"}
        assert names("model=unknown") == set()
        assert "r119" in names("period=hour")
        assert "r10" not in names("period=hour&order=oldest")
        assert names("since=2000-01-01T00:00&until=2001-01-01T00:00") == set()
        assert len(names("since=2000-01-01T00:00&period=hour&order=oldest") & {"r0", "r1"}) == 2


@pytest.mark.parametrize(
    "query",
    ["order=random", "page=1", "period=year", "since=tomorrow", f"q={'x' * 501}", "model=%00", "feedback=maybe"],
)
def test_a_bad_address_is_refused_with_a_hint(served: Served, store: Store, query: str) -> None:
    with client(served, store, "ours") as asked:
        assert asked.get(f"/console/traces.json?{query}").status_code == 400


def test_hostile_texts_are_shown_as_text(browser: Browser, served: Served, store: Store) -> None:
    with watched(browser, served.url) as window:
        page = sign_in(window, store.clear["ops"], f"/traces/{store.hostile}")
        for _ in ("the trace", "the list"):
            expect(page.locator("main")).to_contain_text("<script>window.hacked = 1</script>")
            expect(page.locator("main")).to_contain_text("{{ 7 * 7 }}")
            assert page.evaluate("window.hacked === undefined")
            window.check_accessible()
            page.goto(f"{served.url}/console/traces?q=%3Cscript%3E&model={HOSTILE[:60].replace('=', '%3D')}")
            page.goto(f"{served.url}/console/traces?q=%3Cscript%3E&tenant=%3Cb%3E%E2%80%AE")
            page.goto(f"{served.url}/console/traces?q=%3Cscript%3E")
        window.check()


def test_what_rules_hid_is_not_shown_to_the_tenant(served: Served, store: Store) -> None:
    with client(served, store, "ours") as asked:
        assert "hidden document" not in asked.get(f"/console/traces/{store.hostile}").text
        assert "hidden document" not in asked.get(f"/console/traces/export?id={store.hostile}").text
    with client(served, store, "ops") as asked:
        assert "hidden document" in asked.get(f"/console/traces/{store.hostile}").text


def test_another_tenants_traces_cannot_be_seen(served: Served, store: Store) -> None:
    number, tenant = store.theirs[0], store.tenants["theirs"]
    with client(served, store, "theirs") as asked:
        assert asked.get(f"/console/traces/{number}").status_code == 200
        assert len(asked.get("/console/traces.json").json()["traces"]) == 3
    with client(served, store, "ours") as asked:
        for path in (f"/{number}", f"/{number}.json", f"/export?id={number}", f"/export.json?id=1&id={number}"):
            answer = asked.get(f"/console/traces{path}")
            assert answer.status_code == 404, path
            assert "secret" not in answer.text
        for query in ("", f"tenant={tenant}", "q=secret", "order=slowest&q=their", "page=before:0.0:1&order=oldest"):
            for suffix in ("", ".json"):
                answer = asked.get(f"/console/traces{suffix}?{query}")
                assert answer.status_code == 200, query
                assert "their secret" not in answer.text
                assert tenant not in answer.text.replace(f"tenant={tenant}", "")
    with client(served, store, "ops") as asked:
        assert len(asked.get(f"/console/traces.json?tenant={tenant}").json()["traces"]) == 3


def test_traces_that_do_not_exist(browser: Browser, served: Served, store: Store) -> None:
    with client(served, store, "ours") as asked:
        for path in ("0", "999999", "9" * 40, "x", "-1", "1%00", "%E2%80%AE"):
            assert asked.get(f"/console/traces/{path}.json").status_code == 404, path
        assert asked.get("/console/traces/export").status_code == 400
        assert asked.get("/console/traces/export?" + "&".join(["id=1"] * 201)).status_code == 400
    with watched(browser, served.url, allow=MISSING) as window:
        page = sign_in(window, store.clear["ours"], "/traces/999999")
        expect(page.get_by_role("alert")).to_contain_text("There is no trace 999999.")
        window.check()


def client(served: Served, store: Store, name: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {store.clear[name]}"}
    return httpx.Client(base_url=served.url, headers=headers, trust_env=False, timeout=30)
