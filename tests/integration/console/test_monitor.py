"""The page of monitoring in a real browser: charts, marks, alerts, links to traces, updates, tenants."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import update

from rerankd.console.monitor_charts import CHARTS
from rerankd.database import tables
from rerankd.traces.store import TraceStore
from tests.integration.console.activity import seed_activity, seed_experiment
from tests.integration.console.browser import Watched, watched
from tests.integration.serving import Served, serve
from tests.program import rerankd

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\u202egnp.txt\u2066 zero\u200bwidth \x1b[31mred",
    "x" * 1_000_000,
)


@dataclasses.dataclass(frozen=True)
class Site:
    """A service whose store is full of rankings.

    Attributes:
        served: the service.
        admin: an admin key.
        search: key of a tenant.
        shop: key of another tenant.
        shop_id: id of that tenant.
    """

    served: Served
    admin: str
    search: str
    shop: str
    shop_id: str

    def json(self, path: str, key: str) -> Any:
        """Return a page as JSON."""
        headers = {"authorization": f"Bearer {key}"}
        response = httpx.get(f"{self.served.url}/console{path}", headers=headers, trust_env=False, timeout=60)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("monitor")
    made = [
        json.loads(rerankd("keys", "add", *flags, "--file", str(folder / "keys.json"), "--json").stdout)
        for flags in (["ops", "--admin"], ["search"], ["shop"])
    ]
    url = f"sqlite:///{folder}/traces.sqlite"
    _seed(url, made[1]["tenant"], made[2]["tenant"])
    env = {"RERANKD_API_KEYS_FILE": str(folder / "keys.json"), "RERANKD_TRACES_URL": url}
    with serve(env=env) as served:
        admin, search, shop = (each["key"] for each in made)
        yield Site(served, admin, search, shop, made[2]["tenant"])


def _seed(url: str, search: str, shop: str) -> None:
    store, now = TraceStore(url), time.time()
    seed_activity(store, 1600, tenants=[search], days=0.9, now=now, feedback=0.2)
    seed_activity(store, 300, tenants=[shop], models=["secret-model"], days=0.9, now=now, seed=1)
    seed_activity(store, 300, tenants=[search], days=0.03, now=now, seed=2)
    for number, model in enumerate(HOSTILE, start=3):
        seed_activity(store, 4, tenants=[search], models=[model], days=0.5, now=now, seed=number)
    with store.begin() as connection:
        slow = update(tables.trace).where(tables.trace.c.time > now - 3600, tables.trace.c.tenant == search)
        connection.execute(slow.values(total_ms=1500.0))
    seed_experiment(store, "new-mini", "mini")
    store.close()


def open_page(window: Watched, key: str, path: str = "/monitor") -> Page:
    page = window.open(path)
    page.locator("input[name=key]").fill(key)
    page.keyboard.press("Enter")
    expect(page.locator("#panels")).to_be_visible()
    page.wait_for_load_state()  # scripts have run
    return page


def test_a_release_is_found_and_the_rankings_behind_it(browser: Browser, site: Site) -> None:
    with watched(browser, site.served.url) as window:
        page = open_page(window, site.admin)
        expect(page.get_by_role("heading", level=1)).to_have_text("Monitor")
        expect(page.locator("figure.chart canvas")).to_have_count(len(CHARTS))
        marks = page.get_by_role("list", name="Releases and experiments")
        expect(marks).to_contain_text("Version 2@9f2c1e answers instead of 1@41aa07")
        expect(marks).to_contain_text("Experiment new-mini advanced to 5.0 % of traffic")
        expect(page.get_by_text("of rankings had another document first than the first stage")).to_be_visible()
        window.check_accessible()
        page.get_by_role("link", name="7 days").click()
        expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
        summary = page.locator("#scores-summary")
        summary.focus()
        page.keyboard.press("Enter")
        value = page.locator("#scores-values tbody tr").last.get_by_role("link")
        expect(value).to_be_visible()
        value.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Traces")
        assert "since=" in page.url
        assert "until=" in page.url
        assert "model=mini" in page.url
        window.check()


def test_a_click_on_a_chart_opens_the_traces(browser: Browser, site: Site) -> None:
    with watched(browser, site.served.url) as window:
        page = open_page(window, site.admin)
        page.locator("canvas[data-chart=volume]").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Traces")
        window.check()


def test_alerts_that_are_firing(browser: Browser, site: Site) -> None:
    with watched(browser, site.served.url) as window:
        page = open_page(window, site.search)
        alerts = page.locator("ul.alerts")
        expect(alerts).to_contain_text("RerankdSlowFast")
        expect(alerts).to_contain_text("firing")
        window.check()
    [slow] = [alert for alert in site.json("/monitor.json", site.admin)["alerts"] if alert["name"] == "RerankdSlowFast"]
    assert slow["state"] == "firing"
    assert slow["value"] > slow["threshold"]
    assert site.json("/monitor.json", site.shop)["alerts"] == []


def test_the_page_in_chinese(browser: Browser, site: Site) -> None:
    with watched(browser, site.served.url, locale="zh-CN") as window:
        page = open_page(window, site.admin)
        expect(page.get_by_role("heading", level=1)).to_have_text("监控")
        expect(page.get_by_text("重排序前后的次序")).to_be_visible()
        expect(page.get_by_role("list", name="发布与实验")).to_contain_text("版本 2@9f2c1e 取代 1@41aa07")
        expect(page.locator("ul.alerts")).to_contain_text("触发中")
        page.get_by_role("link", name="30 天").click()
        expect(page.get_by_role("link", name="30 天")).to_have_attribute("aria-current", "true")
        window.check()


def test_updates_keep_focus_and_open_tables_and_can_be_paused(browser: Browser, site: Site) -> None:
    with watched(browser, site.served.url) as window:
        page = window.page
        page.clock.install()
        open_page(window, site.admin)
        page.locator("#drift-summary").click()
        page.locator("#drift-summary").focus()
        page.evaluate("document.querySelector('#panels').dataset.old = document.querySelector('#panels time').dateTime")
        page.evaluate("document.querySelector('#panels time').dateTime = 'old'")
        page.clock.run_for(61_000)
        expect(page.locator("#panels time[datetime=old]")).to_have_count(0)
        expect(page.locator("#drift-values")).to_have_attribute("open", "")
        expect(page.locator("#drift-summary")).to_be_focused()
        assert page.evaluate("Object.keys(Chart.instances).length") == len(CHARTS)
        page.get_by_role("button", name="Pause updates").click()
        expect(page.get_by_role("button", name="Resume updates")).to_have_attribute("aria-pressed", "true")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.clock.run_for(181_000)
        assert asked == []
        page.get_by_role("button", name="Resume updates").click()
        with page.expect_response(lambda response: "/console/monitor" in response.url):
            page.clock.run_for(61_000)
        window.check()


def test_an_ended_session_asks_for_the_key_again(browser: Browser, site: Site) -> None:
    with watched(browser, site.served.url) as window:
        page = window.page
        page.clock.install()
        open_page(window, site.admin)
        page.context.clear_cookies()
        page.clock.run_for(61_000)
        expect(page).to_have_title("Sign in · rerankd console")


@pytest.mark.parametrize("window", ["1h", "24h", "7d", "30d"])
def test_a_tenant_sees_its_own_rankings_only(site: Site, window: str) -> None:
    for query in ("", "&model=secret-model", f"&tenant={site.shop_id}", f"&tenant={site.shop_id}&model=secret-model"):
        content = site.json(f"/monitor.json?window={window}{query}", site.search)
        assert {row["tenant"] for row in content["rows"]} == {content["filter"]["tenant"]}
        assert content["filter"]["tenant"] != site.shop_id
        assert "secret-model" not in [row["model"] for row in content["rows"]]
        assert content["tenants"] == []
        if "secret-model" in query:
            assert content["charts"] == []
        assert not any("Experiment" in mark["text"] for mark in content["marks"])
    own = site.json(f"/monitor.json?window={window}", site.shop)
    assert [row["model"] for row in own["rows"]] == ["secret-model"] if window != "1h" else True
    everyone = site.json("/monitor.json?tenant=*", site.admin)
    assert everyone["filter"]["tenant"] is None


def test_an_admin_chooses_a_tenant(browser: Browser, site: Site) -> None:
    with watched(browser, site.served.url) as window:
        page = open_page(window, site.admin)
        page.get_by_role("combobox", name="Tenant").select_option(site.shop_id)
        expect(page.locator(".notice", has_text="No rankings in this window")).to_be_visible()
        page.get_by_role("combobox", name="Model").select_option("secret-model")
        expect(page.locator("figure.chart canvas")).to_have_count(len(CHARTS))
        window.check()


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_names_are_shown_as_text(browser: Browser, site: Site, number: int) -> None:
    name = HOSTILE[number][:200]
    with watched(browser, site.served.url) as window:
        page = open_page(window, site.admin)
        page.get_by_role("combobox", name="Model").select_option(index=2 + number)
        expect(page.locator("figure.chart canvas")).to_have_count(len(CHARTS))
        assert site.json("/monitor.json", site.admin)["models"].count(name) == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        assert len(page.content()) < 2_000_000
        window.check()


@pytest.mark.parametrize("query", ["window=2h", "model=" + "x" * 201, "tenant=" + "x" * 201], ids=len)
def test_parameters_that_are_not_valid_are_refused(site: Site, query: str) -> None:
    headers = {"authorization": f"Bearer {site.admin}"}
    for suffix in ("", ".json"):
        response = httpx.get(f"{site.served.url}/console/monitor{suffix}?{query}", headers=headers, trust_env=False)
        assert response.status_code == 400
