"""Evaluations in a real browser: started, watched, read, and a query opened; by two tenants, with hostile texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from tests.integration.console.browser import Watched, watched
from tests.integration.serving import Served, serve, until
from tests.unit.evaluation.folders import QUERIES, write_folder

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"&\u202e\u200b\u0007\x1b[31m http://evil.example/"
LONG = "长" * 1_000_000


@dataclass
class Console:
    """A service with keys, and what it evaluates.

    Attributes:
        served: the service.
        keys: keys of an administrator, of a tenant, and of another tenant.
    """

    served: Served
    keys: dict[str, str]

    def client(self, name: str) -> httpx.Client:
        """Return a client that sends a key."""
        return httpx.Client(
            base_url=self.served.url,
            headers={"authorization": f"Bearer {self.keys[name]}", "accept": "application/json"},
            timeout=60,
            trust_env=False,
        )

    def sign_in(self, window: Watched, name: str) -> Page:
        """Sign in, and show the evaluations."""
        page = window.open("/evaluation")
        page.locator("[name=key]").fill(self.keys[name])
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{self.served.url}/console/evaluation")
        return page


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    folder = tmp_path_factory.mktemp("evaluation")
    write_folder(folder / "data" / "tiny")
    write_hostile(folder / "data" / "<img src=x onerror=alert(1)>")
    made = {name: new_key(name, admin=name == "admin") for name in ("admin", "search", "other")}
    write_keys(folder / "keys.json", [key for _, key in made.values()])
    env = {
        "RERANKD_API_KEYS_FILE": str(folder / "keys.json"),
        "RERANKD_EVALUATION_FOLDERS": str(folder / "data"),
        "RERANKD_TRACES_SECONDS": "0.05",
        "RERANKD_MODELS": "candidate=mini",
    }
    with serve(env=env) as served:
        yield Console(served, {name: clear for name, (clear, _) in made.items()})


def write_hostile(folder: Path) -> None:
    """Write a folder whose ids and texts are hostile."""
    folder.mkdir(parents=True)
    rows = {
        "queries.jsonl": [{"_id": "q<b>1", "text": HOSTILE}, {"_id": "q2", "text": f"x{LONG}"}],
        "corpus.jsonl": [
            {"_id": "d<b>1", "title": "", "text": HOSTILE},
            {"_id": "d2", "title": "", "text": LONG},
            {"_id": "d3", "title": "", "text": "Pandas."},
        ],
    }
    for name, content in rows.items():
        (folder / name).write_text("\n".join(map(json.dumps, content)), encoding="utf-8")
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq<b>1\td2\t1\nq<b>1\tgone\t2\nq2\td3\t1\n")
    (folder / "candidates.trec").write_text(
        "".join(f"{query} Q0 {doc} {rank} {9 - rank} s\n" for query in ("q<b>1", "q2")
                for rank, doc in enumerate(("d<b>1", "d2", "d3"), start=1))
    )  # fmt: skip


def test_from_a_dataset_to_its_worst_query(browser: Browser, console: Console) -> None:
    with watched(browser, console.served.url) as window:
        page = console.sign_in(window, "admin")
        page.get_by_label("Dataset").select_option("data/tiny")
        page.get_by_label("Candidates per query at most").fill("2")
        expect(page.get_by_role("checkbox", name="mini")).to_be_checked()
        page.get_by_role("button", name="Start the evaluation").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("data/tiny")
        expect(page.get_by_text("done", exact=True)).to_be_visible()
        expect(page.get_by_role("region", name="Result of mini")).to_contain_text("nDCG@10")
        expect(page.locator("canvas[data-chart=scatter]")).to_be_visible()
        window.check_accessible()
        rows = page.locator("#queries tbody tr")
        expect(rows).to_have_count(len(QUERIES))
        first = rows.first.locator("a")
        query = first.inner_text()
        first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(query)
        expect(page.locator(".list.right li").first).to_be_visible()
        expect(page.locator(".comparison")).to_contain_text("grade")
        window.check_accessible()
        page.get_by_role("link", name="Next query").click()
        expect(page.get_by_text("2 of 3, largest loss first")).to_be_visible()
        page.get_by_role("link", name="data/tiny").click()
        page.get_by_role("link", name="Largest gain first").click()
        expect(page.locator("[aria-current=true]")).to_have_text("Largest gain first")
        window.check()


def test_a_point_of_the_chart_leads_to_its_query(browser: Browser, console: Console) -> None:
    number = evaluated(console, "admin", "folder:data/tiny")
    with watched(browser, console.served.url) as window:
        console.sign_in(window, "admin")
        page = window.open(f"/evaluation/{number}")
        place = page.evaluate_handle("""() => {
            const chart = Chart.getChart(document.querySelector("canvas[data-chart=deltas]"));
            const bar = chart.getDatasetMeta(0).data[0];
            return {x: bar.x, y: (bar.y + bar.base) / 2};
        }""").json_value()
        page.locator("canvas[data-chart=deltas]").click(position=place)
        expect(page).to_have_url(f"{console.served.url}/console/evaluation/{number}/0")
        window.check()


def test_two_evaluations_of_one_dataset(browser: Browser, console: Console) -> None:
    earlier, later = (evaluated(console, "admin", "folder:data/tiny") for _ in range(2))
    with watched(browser, console.served.url) as window:
        console.sign_in(window, "admin")
        page = window.open(f"/evaluation/{later}")
        page.get_by_text("Compare with an earlier evaluation").click()
        page.get_by_role("link", name=f"Evaluation {earlier} ").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"Evaluation {later} against {earlier}")
        expect(page.get_by_role("region")).to_contain_text("no difference shown")
        expect(page.locator("#queries tbody tr")).to_have_count(len(QUERIES))
        window.check_accessible()
        page.locator("#queries a").first.click()
        expect(page).to_have_url(re.compile(rf"/console/evaluation/{later}/\d$"))
        window.check()


def test_two_models_of_one_evaluation(browser: Browser, console: Console) -> None:
    number = evaluated(console, "admin", "folder:data/tiny", "mini", "candidate")
    with watched(browser, console.served.url) as window:
        console.sign_in(window, "admin")
        page = window.open(f"/evaluation/{number}")
        expect(page.get_by_role("region", name="Result of candidate")).to_be_visible()
        page.get_by_role("link", name="candidate", exact=True).click()
        expect(page.locator("[aria-current=true]").first).to_have_text("candidate")
        page.get_by_role("link", name="candidate against mini").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"Two models of evaluation {number}")
        expect(page.get_by_role("region")).to_contain_text("tied 3")
        page.get_by_label(re.compile(r"^Before \(")).select_option("candidate")
        expect(page).to_have_url(re.compile("before=candidate"))
        window.check()


def test_in_chinese_and_by_keyboard(browser: Browser, console: Console) -> None:
    with watched(browser, console.served.url, locale="zh-CN") as window:
        page = console.sign_in(window, "admin")
        expect(page.get_by_role("heading", level=1)).to_have_text("评测")
        page.get_by_label("数据集").select_option("data/tiny")
        page.get_by_role("button", name="开始评测").press("Enter")
        expect(page.get_by_text("已完成", exact=True)).to_be_visible()
        expect(page.get_by_role("heading", name="如何解读")).to_be_visible()
        window.check_accessible()
        page.locator("#queries a").first.press("Enter")
        expect(page.get_by_text("第 1 / 3 个，下降最多的在前")).to_be_visible()
        page.get_by_role("link", name="data/tiny").press("Enter")
        page.get_by_role("button", name="删除").press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("删除后无法恢复")
        dialog.get_by_role("button", name="删除").press("Enter")
        expect(page).to_have_url(f"{console.served.url}/console/evaluation")
        window.check()


def test_hostile_texts_are_shown_as_text(browser: Browser, console: Console) -> None:
    number = evaluated(console, "admin", "folder:data/<img src=x onerror=alert(1)>")
    with watched(browser, console.served.url) as window:
        page = console.sign_in(window, "admin")
        for path in ("", f"/{number}", f"/{number}/0", f"/{number}/1"):
            window.open(f"/evaluation{path}")
            expect(page.locator("h1")).to_be_visible()
            assert page.locator("img, main script:not([type])").count() == 0
            page.set_viewport_size({"width": 400, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= 400, path
        expect(page.get_by_text("onerror=alert(2)").first).to_be_visible()
        window.check_accessible()
        window.check()


def test_labelled_cases_of_one_tenant(browser: Browser, console: Console) -> None:
    label_a_case(console, "search")
    with watched(browser, console.served.url) as window:
        page = console.sign_in(window, "search")
        assert page.get_by_label("Dataset").locator("option").all_inner_texts() == ["Labelled cases (1 labelled)"]
        page.get_by_role("button", name="Start the evaluation").click()
        expect(page.get_by_text("done", exact=True)).to_be_visible()
        page.get_by_role("link", name="what eats bamboo?").click()
        expect(page.locator(".comparison")).to_contain_text("Pandas")
        expect(page.locator(".comparison")).to_contain_text("grade 1")
        window.check_accessible()
        window.check()


def test_another_tenant_sees_nothing_of_it(console: Console) -> None:
    admins = evaluated(console, "admin", "folder:data/tiny")
    label_a_case(console, "search")
    own = evaluated(console, "search", "cases")
    with console.client("other") as other, console.client("search") as search, console.client("admin") as admin:
        assert other.get("/console/evaluation.json").json()["runs"] == []
        assert other.get("/console/evaluation.json").json()["folders"] == []
        assert other.get("/console/evaluation.json").json()["cases"]["count"] == 0
        for number in (admins, own):
            for path in (f"/{number}", f"/{number}.json", f"/{number}/0", f"/{number}/0.json", f"/{number}/progress"):
                assert other.get(f"/console/evaluation{path}").status_code == 404, path
            assert other.get(f"/console/evaluation/{number}/against/{admins}").status_code == 404
            for action in ("cancel", "delete"):
                assert other.post(f"/console/evaluation/{number}/{action}").status_code == 404
        assert search.get(f"/console/evaluation/{admins}.json").status_code == 404
        start = {"source": "folder:data/tiny", "model": "mini"}
        assert search.post("/console/evaluation", data=start).status_code == 403
        shown = {each["id"] for each in admin.get("/console/evaluation.json").json()["runs"]}
        assert {admins, own} <= shown
        assert admin.get(f"/console/evaluation/{own}.json").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/0",
        "/x",
        "/99999999999999999999",
        "/-1",
        "/1/x",
        "/1/9999",
        "/1/against/0",
        "/1/against/x",
        "/1?page=9999",
        "/1?order=up",
        "/../x",
    ],
)
def test_addresses_that_mean_nothing(path: str, console: Console) -> None:
    evaluated(console, "admin", "folder:data/tiny")
    with console.client("admin") as client:
        assert client.get(f"/console/evaluation{path}").status_code in (400, 404)


def test_what_cannot_be_evaluated_is_refused(console: Console) -> None:
    with console.client("admin") as client:
        for form, status in (
            ({"source": "folder:data/tiny"}, 400),
            ({"source": "folder:data/tiny", "model": "nobody"}, 404),
            ({"source": "folder:../tiny", "model": "mini"}, 404),
            ({"source": "folder:data/tiny", "model": "mini", "queries": "1e9"}, 400),
            ({"model": "mini"}, 400),
        ):
            assert client.post("/console/evaluation", data=form).status_code == status, form
    with httpx.Client(base_url=console.served.url, trust_env=False) as stranger:
        assert stranger.get("/console/evaluation.json").status_code == 401
        assert stranger.post("/console/evaluation", data={"source": "cases", "model": "mini"}).status_code == 401


def evaluated(console: Console, name: str, source: str, *models: str) -> int:
    """Evaluate by HTTP, as the holder of a key; return the number."""
    with console.client(name) as client:
        response = client.post("/console/evaluation", data={"source": source, "model": models or ("mini",)})
        assert response.status_code == 303, response.text
        address = response.headers["location"]

        def state() -> Any:
            return client.get(f"{address}.json").json()["run"]["state"]

        until(lambda: state() not in ("queued", "running"), "ended")
        assert state() == "done"
        return int(address.rpartition("/")[2])


def label_a_case(console: Console, name: str) -> None:
    """Rank with a key, flag the ranking, and label it, unless that was done."""
    with console.client(name) as client:
        if client.get("/v1/cases?state=labelled").json()["data"]:
            return
        documents = ["A car has four wheels.", "Pandas eat bamboo.", "Bears eat fish."]
        result = client.post("/v1/rerank", json={"query": "what eats bamboo?", "documents": documents}).json()
        flag = {"request_id": result["id"]}
        until(lambda: client.post("/v1/cases", json=flag).status_code == 202, "the ranking traced")
        (case,) = client.get("/v1/cases").json()["data"]
        labels = {"labels": [{"index": 1, "grade": 1}, {"index": 0, "grade": 0}]}
        assert client.post(f"/v1/cases/{case['id']}", json=labels).status_code == 200
